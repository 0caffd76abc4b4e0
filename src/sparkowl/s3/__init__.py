"""S3 on the wire: the door through which clients reach the buckets of ``objects``.

Path-style URLs, about twenty operations, always signed. An ASGI application of its own, so that it
can have its own port or share one. What a bucket or an object is, and where it lies, is decided in
``objects``; what is not there (versions, policies, tags, access lists, locks) is refused by name.
"""
