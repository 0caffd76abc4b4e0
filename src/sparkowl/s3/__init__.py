"""S3 on the wire: the door through which clients reach the buckets of ``objects``.

Path-style and virtual-hosted URLs, about twenty operations, always signed. An ASGI application of
its own, so that it can have its own port or share one. What a bucket or an object is, and where it
lies, is decided in ``objects``; what is not there (versions, policies, tags, access lists, locks)
is refused by name.

Where a folder of plain files cannot be S3, a client meets these differences:

- ``a`` and ``a/b`` cannot both be objects (409 KeyConflict), nor can a key end in ``/`` and hold
  bytes; a segment of a key has at most 255 bytes.
- What is in the folder is in the listing, also while Spark is still writing it (``_temporary``);
  only Hadoop's own checksum files (``.name.crc``) are never listed.
- A file that Spark wrote has an ETag that is no MD5, and no checksum.
- A multipart upload can be completed once; the checksums that may come with its completion are
  not verified (each part's was).
- Server-side encryption with keys of the server, storage classes and a bucket's region are
  accepted and mean nothing. Encryption with the client's key is refused.
"""
