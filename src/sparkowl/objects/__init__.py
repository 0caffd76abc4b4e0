"""Files out there: buckets and objects, kept as plain files under one folder.

A bucket is a folder and an object is a file in it, under a name that anyone can read: Spark writes
the same folders through Hadoop's local file system, and an operator copies them with ``cp``.
Nothing of that knows HTTP, XML or a signature; that is the room ``s3``. It blocks: an event loop
calls it from a thread.

What the server itself needs of objects is :mod:`.storage`, which does not block, and which has them
in these folders or in an S3 service.
"""
