"""The shared catalogue: a keeper, and Hive's metastore in a JVM that it starts when asked.

Sessions know one loopback address. Until somebody calls there the server listens itself; the first
call starts the keeper (``python -m sparkowl.metastore``), which inherits the listening socket and
from then on serves, also while the server is away. It lets in whom it knows by their POSIX user,
starts the JVM, and carries bytes between the two.

The JVM has no port of its own that would answer questions of a metastore: it dials the keeper, over
a Unix socket in its folder, once for each caller. The server imports only :mod:`.spec`,
:mod:`.control` and :mod:`.names` from here.
"""
