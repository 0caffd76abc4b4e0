"""The access key of a session: what AWS's tools in its blocks sign with.

Nothing of it is stored. The id *is* the session's, in the letters of a key's id; the secret is
derived from the id and a secret of the servers, so each server of a database knows it. What the
key opens is decided by the session's row, each time it is looked at: see :func:`works`.

Its principal is :func:`principal_of`: it may do what the session's execution role says
(:class:`~sparkowl.domain.role.Role`), or :func:`default_policy`, and never more than
:class:`Bounds` lets through.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from uuid import UUID

from sparkowl.domain.arns import Account
from sparkowl.domain.ids import SessionId
from sparkowl.domain.policy import Policy, Principal, parse
from sparkowl.domain.role import Role
from sparkowl.domain.session import TERMINAL, Session

#: What the servers' secret is asked for, in :meth:`sparkowl.credentials.Credentials.key_for`.
PURPOSE: Final = "session credentials"
#: How AWS begins the ids of keys that end by themselves.
_BEGINS: Final = "ASIA"
#: A UUID has 128 bits; base32 without its padding.
_FORM: Final = re.compile(rf"{_BEGINS}[A-Z2-7]{{26}}")
_PRINCIPAL: Final = "session/"
_BUCKET: Final = re.compile(r"arn:aws:s3:::([^/]*)(/.*)?", re.DOTALL)


def key_id(session_id: str) -> str:
    """The id of a session's key."""
    text = base64.b32encode(UUID(session_id).bytes).decode().rstrip("=")
    return f"{_BEGINS}{text}"


def session_of(access_key_id: str) -> SessionId | None:
    """The id of the session whose key has this id, there or not; None: that is no session's key.

    Each session has one id of a key: its last letter says more bits than there are, and only one
    spelling is taken.
    """
    if _FORM.fullmatch(access_key_id) is None:
        return None
    try:
        found = base64.b32decode(access_key_id.removeprefix(_BEGINS) + "======")
    except binascii.Error:
        return None
    session_id = SessionId(str(UUID(bytes=found)))
    return session_id if key_id(session_id) == access_key_id else None


def secret(key: bytes, session_id: str) -> str:
    """The secret of a session's key; ``key`` is the servers', for :data:`PURPOSE`."""
    digest = hmac.new(key, session_id.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def name_of(session_id: str) -> str:
    """What its principal is called. No principal that an operator makes can have a slash."""
    return f"{_PRINCIPAL}{session_id}"


def named(principal: str) -> SessionId | None:
    """The session that is a principal of this name; None: it is somebody else."""
    if not principal.startswith(_PRINCIPAL):
        return None
    return SessionId(principal.removeprefix(_PRINCIPAL))


def works(session: Session) -> bool:
    """Whether the key opens anything now: until the session has ended.

    Also while it is TERMINATING: a block that runs may still be told to stop, and what it writes in
    the end, and what its driver stores for it, belongs to the session. On its way to TERMINATED the
    driver is gone before the state changes, so nobody is left then who could use the key but
    somebody who took it away; for them it is dead.
    """
    return session.state not in TERMINAL


def principal_of(session: Session, role: Role, account: Account) -> Principal:
    """Who signs with a session's key; ``role`` is what its execution role maps to."""
    arn = account.work_group(session.work_group)
    policy = role.policy or default_policy(arn, may_make_buckets=role.buckets is None)
    return Principal(name_of(session.id), policy, Bounds(session.execution_role, role.buckets))


@dataclass(frozen=True, slots=True)
class Bounds:
    """What no policy of a role can give to a session."""

    #: Its own, which it may name for others where its policy says so.
    role: str | None
    #: As in :class:`Role`.
    buckets: tuple[str, ...] | None

    def hold(self, action: str, resource: str) -> bool:
        """Whether an action on a resource is within them: no bucket that the role does not see, and
        no role but its own."""
        if action == "iam:PassRole":
            return resource == self.role
        if action in _ON_NO_BUCKET or self.buckets is None:
            return True
        if not action.startswith("s3:"):
            return True
        found = _BUCKET.fullmatch(resource)
        return found is not None and Role(buckets=self.buckets).sees(found[1])


#: It names buckets and opens none; those that a session does not see are left out of the answer.
_ON_NO_BUCKET: Final = frozenset({"s3:ListAllMyBuckets"})

#: What Amazon's user guide gives to an execution role ("Creating a Spark-enabled workgroup", the
#: policy of the default role), and the rest of what a notebook's page asks for.
_CALLS: Final = (
    "athena:GetWorkGroup",
    "athena:TerminateSession",
    "athena:GetSession",
    "athena:GetSessionStatus",
    "athena:GetSessionEndpoint",
    "athena:ListSessions",
    "athena:StartCalculationExecution",
    "athena:GetCalculationExecutionCode",
    "athena:StopCalculationExecution",
    "athena:ListCalculationExecutions",
    "athena:GetCalculationExecution",
    "athena:GetCalculationExecutionStatus",
    "athena:ListExecutors",
    "athena:CreateNotebook",
    "athena:ExportNotebook",
    "athena:GetNotebookMetadata",
    "athena:ListNotebookMetadata",
    "athena:ListNotebookSessions",
    "athena:UpdateNotebook",
    "athena:CreatePresignedNotebookUrl",
)
#: In the buckets that the role sees, by :class:`Bounds`.
_OBJECTS: Final = (
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
    "s3:ListBucketMultipartUploads",
    "s3:ListBucket",
    "s3:GetBucketLocation",
    "s3:ListAllMyBuckets",
)


@lru_cache(maxsize=256)  # a workgroup has one, and each look at a key needs it
def default_policy(work_group_arn: str, *, may_make_buckets: bool) -> Policy:
    """What a session may do whose role has no policy.

    Its workgroup's sessions and calculations, its own among them, but no new session: that is what
    AWS's own default does not have either, and a session could choose a role by it. Objects in the
    buckets that its role sees. New buckets only where it sees all: its code could make the folder
    anyway, while one that sees some would make what is mounted for others.
    """
    objects = [*_OBJECTS, *(["s3:CreateBucket"] if may_make_buckets else [])]
    statements = [
        {"Effect": "Allow", "Action": list(_CALLS), "Resource": work_group_arn},
        {"Effect": "Allow", "Action": objects, "Resource": "*"},
    ]
    return parse(json.dumps({"Version": "2012-10-17", "Statement": statements}))
