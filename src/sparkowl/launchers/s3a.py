"""S3 for Spark: the properties that send ``s3://`` to an S3 service, through Hadoop's S3A.

Keys are not among them: S3A reads those of the session from its profile file, which the driver's
environment names (``AWS_SHARED_CREDENTIALS_FILE``) and which has them from its adoption on.
"""

from __future__ import annotations

from typing import Final

from sparkowl.domain.service import Service

#: What ``sparkowl jars fetch`` calls the jars.
NAME: Final = "s3a"

_S3A: Final = "org.apache.hadoop.fs.s3a"
_CLOUD: Final = "org.apache.spark.internal.io.cloud"
SCHEMES: Final = ("s3", "s3a")
#: The one provider: without it S3A asks the machine it runs on for an identity, and that is the
#: server's. Hadoop 3.3 has AWS's first SDK, Hadoop 3.4 the second.
_PROVIDER: Final = "software.amazon.awssdk.auth.credentials.ProfileCredentialsProvider"
#: What a program of ours has that is no session: keys among the properties.
GIVEN_KEYS: Final = "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider"
_PROVIDER_OLD: Final = "com.amazonaws.auth.profile.ProfileCredentialsProvider"


def spark_properties(service: Service, spark_version: str) -> dict[str, str]:
    """The properties of a launch with this Spark."""
    old = spark_version.startswith("3.")
    keys = {
        "fs.s3a.endpoint.region": service.region,
        "fs.s3a.path.style.access": str(service.path_style).lower(),
        "fs.s3a.aws.credentials.provider": _PROVIDER_OLD if old else _PROVIDER,
        # Files appear whole, when the job is committed, and are never renamed, which S3 cannot.
        "fs.s3a.committer.name": "magic",
        "fs.s3a.committer.magic.enabled": "true",
    }
    if service.endpoint is not None:
        keys["fs.s3a.endpoint"] = service.endpoint
        keys["fs.s3a.connection.ssl.enabled"] = str(service.endpoint.startswith("https:")).lower()
    for scheme in SCHEMES:
        keys[f"fs.{scheme}.impl"] = f"{_S3A}.S3AFileSystem"
        keys[f"mapreduce.outputcommitter.factory.scheme.{scheme}"] = (
            f"{_S3A}.commit.S3ACommitterFactory"
        )
    return {f"spark.hadoop.{key}": value for key, value in keys.items()} | {
        "spark.sql.sources.commitProtocolClass": f"{_CLOUD}.PathOutputCommitProtocol",
        "spark.sql.parquet.output.committer.class": f"{_CLOUD}.BindingParquetOutputCommitter",
        # A stream's checkpoint is written at once as well.
        "spark.sql.streaming.checkpointFileManagerClass": (
            f"{_CLOUD}.AbortableStreamBasedCheckpointFileManager"
        ),
    }
