"""What object storage can say no with.

::

    ObjectError
    ├── InvalidBucketName · NoSuchBucket · BucketAlreadyExists · BucketNotEmpty
    ├── InvalidKey · KeyTooLong · KeyConflict · NoSuchKey
    ├── PreconditionFailed
    ├── MetadataTooLarge
    ├── StorageUnreachable · StorageRefused
    └── NoSuchUpload · InvalidPart · InvalidPartOrder · PartTooSmall

The names are S3's where S3 has one. Which status a refusal has on the wire is the S3 door's table.
"""

from __future__ import annotations


class ObjectError(Exception):
    """Object storage said no. The message is written for whoever asked."""


class InvalidBucketName(ObjectError):
    """The name breaks S3's rules for buckets."""


class NoSuchBucket(ObjectError):
    """There is no folder of that name."""


class BucketAlreadyExists(ObjectError):
    """There is a folder of that name."""


class BucketNotEmpty(ObjectError):
    """There are files in the bucket."""


class InvalidKey(ObjectError):
    """No object can have this key."""


class KeyTooLong(ObjectError):
    """The key, or one segment of it, is longer than S3 or the file system can hold."""


class KeyConflict(ObjectError):
    """A folder cannot hold both ``a`` and ``a/b``, and one of them is there."""


class NoSuchKey(ObjectError):
    """There is no such object."""


class PreconditionFailed(ObjectError):
    """The object is not in the state that the caller named."""


class MetadataTooLarge(ObjectError):
    """More metadata than fits beside a file."""


class StorageUnreachable(ObjectError):
    """The S3 service does not answer, or says that it cannot for now. This may pass by itself."""


class StorageRefused(ObjectError):
    """The S3 service does not let these keys do it."""


class NoSuchUpload(ObjectError):
    """A multipart upload that never was, was completed, or was aborted."""


class InvalidPart(ObjectError):
    """A part that was not uploaded, or not with that ETag."""


class InvalidPartOrder(ObjectError):
    """Parts are to be listed in ascending order."""


class PartTooSmall(ObjectError):
    """Every part but the last has at least 5 MiB."""
