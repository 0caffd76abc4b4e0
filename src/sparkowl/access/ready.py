"""The policy that ``sparkowl keys create --workgroup`` gives."""

from __future__ import annotations

from typing import Any, Final

#: What a user does in a workgroup: sessions, calculations, notebooks, and to look at the workgroup
#: itself.
_IN_WORK_GROUP: Final = (
    "athena:GetWorkGroup",
    "athena:StartSession",
    "athena:GetSession*",
    "athena:ListSessions",
    "athena:TerminateSession",
    "athena:ListExecutors",
    "athena:StartCalculationExecution",
    "athena:GetCalculationExecution*",
    "athena:ListCalculationExecutions",
    "athena:StopCalculationExecution",
    "athena:*Notebook*",
    "athena:ListTagsForResource",
)
#: On sessions only: the workgroup's own tags are its operator's.
_ON_SESSIONS: Final = ("athena:TagResource", "athena:UntagResource")
_EVERYWHERE: Final = (
    "athena:ListWorkGroups",
    "athena:ListEngineVersions",
    "athena:ListApplicationDPUSizes",
)
_ON_OBJECTS: Final = (
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
)
_ON_BUCKET: Final = (
    "s3:ListBucket",
    "s3:GetBucketLocation",
    "s3:ListBucketMultipartUploads",
)


def work_group_user(work_group: str, output_location: str) -> dict[str, Any]:
    """All that a user of one workgroup needs, and nothing else.

    ``work_group`` is its ARN. Objects may be read and written below its ``output_location``
    (``s3://bucket/prefix``); their names can be listed in all of the bucket.
    """
    bucket, _, prefix = output_location.removeprefix("s3://").partition("/")
    below = f"{bucket}/{prefix.rstrip('/')}/*" if prefix.strip("/") else f"{bucket}/*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            _allow("WorkGroup", _IN_WORK_GROUP, work_group, f"{work_group}/session/*"),
            _allow("Sessions", _ON_SESSIONS, f"{work_group}/session/*"),
            _allow("Lists", _EVERYWHERE, "*"),
            _allow("Outputs", _ON_OBJECTS, f"arn:aws:s3:::{below}"),
            _allow("OutputBucket", _ON_BUCKET, f"arn:aws:s3:::{bucket}"),
        ],
    }


def _allow(sid: str, actions: tuple[str, ...], *resources: str) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": list(resources),
    }
