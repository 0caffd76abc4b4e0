"""Sessions' keys for an S3 service: of their role's section, by assuming their role, or common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from sparkowl.clock import Clock
from sparkowl.domain.service import Keys
from sparkowl.domain.session import Session
from sparkowl.supervisor.means import KeysAway, KeysRefused, SessionKeys

#: Keys that end sooner are replaced: a session that cannot be told for so long has lost its server.
RENEWED_BEFORE: Final = timedelta(minutes=15)
#: AWS's own default, which every role allows.
LASTS: Final = timedelta(hours=1)
#: A token service that was away is not asked for so long by sessions whose keys are good: each look
#: at a session would wait for it, and what its user asked for with it.
AGAIN_AFTER: Final = timedelta(minutes=1)
_CONNECT_S: Final = 5
_READ_S: Final = 20
_SERVER_ERROR: Final = 500
#: What codes begin with that ask for patience.
_BUSY: Final = ("Throttling", "RequestLimitExceeded")


@dataclass(frozen=True, slots=True)
class Assumed:
    """Temporary keys of one session."""

    keys: Mapping[str, str]
    expires_at: datetime


#: From a role's ARN and a session's name to keys. Blocks; :class:`KeysRefused`, :class:`KeysAway`.
Assume = Callable[[str, str], Assumed]


class ServiceKeys:
    """The role's own section first; then its assumption; then what all sessions share."""

    def __init__(
        self,
        clock: Clock,
        *,
        by_role: Mapping[str, Keys],
        unmapped: Keys | None = None,
        assume: Assume | None = None,
        default: Keys | None = None,
    ) -> None:
        self._clock = clock
        self._by_role = by_role
        self._unmapped = unmapped
        self._assume = assume
        self._default = default
        self._assumed: dict[str, Assumed] = {}
        self._again_at: datetime | None = None

    async def of(self, session: Session) -> Mapping[str, str]:
        role = session.request.get("ExecutionRole") or ""
        own = self._by_role.get(role)
        if own is None and role and self._assume is not None:
            return await self._assumed_by(session, role, self._assume)
        keys = own or self._unmapped or self._default
        if keys is None:
            raise KeysRefused("The settings have no keys for it at the S3 service.")
        return {
            "aws_access_key_id": keys.access_key_id,
            "aws_secret_access_key": keys.secret_access_key,
        }

    async def _assumed_by(self, session: Session, role: str, assume: Assume) -> Mapping[str, str]:
        now = self._clock.now()
        known = self._assumed.get(session.id)
        if known is not None and known.expires_at <= now:
            known = None
        if known is not None:
            is_away = self._again_at is not None and now < self._again_at
            if is_away or known.expires_at - now >= RENEWED_BEFORE:
                return known.keys
        try:
            found = await asyncio.to_thread(assume, role, f"AthenaExecutor-{session.id}")
        except KeysAway:
            self._again_at = self._clock.now() + AGAIN_AFTER
            if known is None:
                raise
            return known.keys
        self._again_at = None
        self._forget(now)
        self._assumed[session.id] = found
        return found.keys

    def _forget(self, now: datetime) -> None:
        """Sessions that have ended ask no more."""
        self._assumed = {id_: one for id_, one in self._assumed.items() if one.expires_at > now}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenService:
    """AWS's token service, or another that answers as it does."""

    region: str
    #: None: AWS's.
    endpoint: str | None
    #: The server's own; None: from the usual sources of AWS.
    keys: Keys | None

    def assume(self, role: str, name: str) -> Assumed:
        try:
            answer = self._client().assume_role(
                RoleArn=role, RoleSessionName=name, DurationSeconds=int(LASTS.total_seconds())
            )
        except ClientError as error:
            said = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = said.get("Code", "")
            if status >= _SERVER_ERROR or code.startswith(_BUSY):
                raise KeysAway(f"The token service cannot answer now ({code}).") from None
            raise KeysRefused(
                f"The token service does not give keys for {role} ({code})."
            ) from None
        except NoCredentialsError:
            raise KeysRefused(
                "This server has no keys of its own to assume roles with: set "
                "objects.access_key_id and objects.secret_access_key, or give it an instance role."
            ) from None
        except BotoCoreError:
            raise KeysAway("The token service does not answer.") from None
        given = answer["Credentials"]
        return Assumed(
            keys={
                "aws_access_key_id": given["AccessKeyId"],
                "aws_secret_access_key": given["SecretAccessKey"],
                "aws_session_token": given["SessionToken"],
            },
            expires_at=given["Expiration"],
        )

    def _client(self) -> Any:
        keys = self.keys
        return boto3.client(
            "sts",
            region_name=self.region,
            endpoint_url=self.endpoint or f"https://sts.{self.region}.amazonaws.com",
            aws_access_key_id=keys and keys.access_key_id,
            aws_secret_access_key=keys and keys.secret_access_key,
            config=Config(
                connect_timeout=_CONNECT_S,
                read_timeout=_READ_S,
                retries={"mode": "standard", "total_max_attempts": 2},
            ),
        )


_: type[SessionKeys] = ServiceKeys
