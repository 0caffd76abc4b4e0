"""Buckets on one machine: the Hadoop keys that turn ``s3://bucket/…`` into a folder.

Hadoop's ViewFileSystemOverloadScheme, which is in the Spark wheel, takes over the schemes ``s3``
and ``s3a`` and sends each bucket to a folder through a mount table. No jar to download, no port,
no secret. Nothing here runs Spark; :mod:`.jvm` puts the keys in a launch, :mod:`.spark` sets
those of later buckets.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_VIEWFS: Final = "org.apache.hadoop.fs.viewfs"
#: A scheme of our own for the folders. Under ``file`` the checksummed file system would leave
#: ``.crc`` files among the user's objects; giving ``file`` itself the raw one breaks Hadoop's
#: ``FileSystem.getLocal``, which casts; and the mount table's own ``overload.scheme.target`` is
#: looked at only where folder and bucket have the same scheme.
_FOLDER_SCHEME: Final = "sparkowl-folder"
SCHEMES: Final = ("s3", "s3a")


def _scheme_keys(scheme: str) -> dict[str, str]:
    return {
        f"fs.{scheme}.impl": f"{_VIEWFS}.ViewFileSystemOverloadScheme",
        # Asked for a bucket that is not mounted, it looks for the class that is named here; there
        # is none of this name, and the error then says what is the matter, in S3's own word.
        f"fs.viewfs.overload.scheme.target.{scheme}.impl": "NoSuchBucket",
        # Hadoop gives s3a a committer of its own, from a jar that is not there.
        f"mapreduce.outputcommitter.factory.scheme.{scheme}": (
            "org.apache.hadoop.mapreduce.lib.output.FileOutputCommitterFactory"
        ),
    }


def mount_keys(buckets: Mapping[str, str]) -> dict[str, str]:
    """Hadoop keys that mount each bucket on its folder."""
    return {
        f"fs.viewfs.mounttable.{bucket}.linkFallback": (
            f"{_FOLDER_SCHEME}://{Path(folder).as_uri().removeprefix('file://')}"
        )
        for bucket, folder in buckets.items()
    }


def spark_properties(
    buckets: Mapping[str, str],
    chosen: Mapping[str, str] | None = None,
    *,
    spark_version: str,
) -> dict[str, str]:
    """The keys as properties of a launch.

    A scheme whose file system the operator chose himself (``spark.hadoop.fs.s3a.impl``: real S3)
    is left alone.
    """
    chosen = chosen or {}
    folders = {f"fs.{_FOLDER_SCHEME}.impl": "org.apache.hadoop.fs.RawLocalFileSystem"}
    keys = folders | mount_keys(buckets)
    for scheme in SCHEMES:
        if f"spark.hadoop.fs.{scheme}.impl" not in chosen:
            keys |= _scheme_keys(scheme)
    return {f"spark.hadoop.{key}": value for key, value in keys.items()} | _streaming(spark_version)


def _streaming(spark_version: str) -> dict[str, str]:
    """Checkpoints of streams through Hadoop's older interface, which the mounts speak."""
    package = "org.apache.spark.sql.execution.streaming"
    if tuple(map(int, spark_version.split(".")[:2])) >= (4, 1):
        package += ".checkpointing"
    return {
        "spark.sql.streaming.checkpointFileManagerClass": (
            f"{package}.FileSystemBasedCheckpointFileManager"
        )
    }
