"""Files out there: buckets and objects, kept as plain files under one folder.

A bucket is a folder and an object is a file in it, under a name that anyone can read: Spark writes
the same folders through Hadoop's local file system, and an operator copies them with ``cp``.
Nothing here knows HTTP, XML or a signature; that is the room ``s3``. Everything here blocks: an
event loop calls it from a thread.
"""
