"""Names of resources as AWS writes them (IAM User Guide, "Amazon Resource Names").

Athena's own are ``arn:<partition>:athena:<region>:<account>:workgroup/<name>`` and, behind it,
``/session/<id>``; a calculation has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sparkowl.domain.errors import InvalidRequest

#: The account may be left out, as Terraform does with ``skip_requesting_account_id``.
_FORM: Final = re.compile(
    r"arn:aws[a-z-]*:athena:(?P<region>[a-z0-9-]*):(?P<account>[0-9]{12})?:"
    r"workgroup/(?P<work_group>[a-zA-Z0-9._-]{1,128})(/session/(?P<session_id>[a-zA-Z0-9-]{1,36}))?"
)


@dataclass(frozen=True, slots=True)
class Account:
    """Whose resources these are. Every server has one account in one region, both settings."""

    id: str = "000000000000"
    region: str = "us-east-1"

    def work_group(self, name: str) -> str:
        return f"arn:aws:athena:{self.region}:{self.id}:workgroup/{name}"

    def session(self, work_group: str, session_id: str) -> str:
        return f"{self.work_group(work_group)}/session/{session_id}"

    def parse(self, arn: str) -> Resource:
        """What an ARN of ours names; InvalidRequest for any other."""
        found = _FORM.fullmatch(arn)
        if found is None:
            raise InvalidRequest(
                f"ResourceARN {arn[:256]} is not the ARN of a workgroup "
                "(arn:aws:athena:<region>:<account>:workgroup/<name>) or of a session in one "
                "(.../session/<id>)."
            )
        if found["region"] != self.region or found["account"] not in {self.id, None}:
            raise InvalidRequest(
                f"ResourceARN {arn[:256]} is of another region or account than this server's: "
                f"{self.region}, {self.id}."
            )
        return Resource(found["work_group"], found["session_id"])


@dataclass(frozen=True, slots=True)
class Resource:
    """A workgroup, or a session in one."""

    work_group: str
    session_id: str | None = None

    @property
    def key(self) -> str:
        """Its name among the tags."""
        if self.session_id is not None:
            return f"session/{self.session_id}"
        return f"workgroup/{self.work_group}"
