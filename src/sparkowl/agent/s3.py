"""Putting objects into an S3 service with the session's own keys.

obstore is imported when it is first needed: drivers whose outputs go into folders do without.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sparkowl.agent.uploads import Refused, ServiceAway

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Credential, S3Store

_CONNECT_S: Final = 5
#: Of one object, which may have 10 MB, over a slow line.
_REQUEST_S: Final = 120
#: Keys may be replaced by a repeated adoption; how soon that is noticed.
_KEYS_GOOD_FOR: Final = timedelta(minutes=1)
_STATUS: Final = re.compile(r"\bstatus: (\d{3})\b")
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9.]+)</Code>")
#: What obstore says of an answer of AWS for a bucket that is in another region.
_ELSEWHERE: Final = "redirect without LOCATION"
#: A service that is busy is not always so, and a new bucket is soon known everywhere...
_MAY_PASS: Final = frozenset({307, 408, 425, 429, 500, 502, 503, 504})
#: ...keys are renewed, and clocks are set.
_PASSING: Final = frozenset(
    {"ExpiredToken", "RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "OperationAborted"}
)


class Service:
    """``put`` of it is what :class:`~sparkowl.agent.uploads.Carrier` wants."""

    def __init__(
        self,
        aws: Mapping[str, str],
        keys: Callable[[], Mapping[str, str]],
        keys_good_for: timedelta = _KEYS_GOOD_FOR,
    ) -> None:
        """``aws``: of the driver's specification; ``keys``: the session's, as they are now, which
        are asked for anew after ``keys_good_for``."""
        self._keys_good_for = keys_good_for
        self._aws = aws
        self._keys = keys
        self._stores: dict[tuple[str, str, str], S3Store] = {}

    async def put(self, uri: str, content: bytes, encryption: Mapping[str, str]) -> None:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not self._keys():
            raise Refused("the session has no keys for the S3 service")
        if key.startswith("/"):  # obstore would take it off, and put another object
            raise Refused(f"no object can have the key {key[:200]!r}")
        try:
            store = await asyncio.to_thread(self._store, bucket, encryption)
            import obstore

            await obstore.put_async(store, key, content, use_multipart=False)
        except ImportError as error:
            raise Refused(f"the engine's environment cannot load obstore ({error})") from error
        except ValueError as error:
            raise Refused(f"no object can have the key {key[:200]!r}") from error
        except OSError as error:  # obstore's "not found" is one
            raise _meaning(error) from None
        except _errors() as error:
            raise _meaning(error) from None

    def _store(self, bucket: str, encryption: Mapping[str, str]) -> S3Store:
        """In a thread: the first one imports obstore."""
        from obstore.store import S3Store

        option, kms_key = encryption.get("option", ""), encryption.get("kms_key", "")
        known = self._stores.get((bucket, option, kms_key))
        if known is not None:
            return known
        region = self._aws["region"]
        url = self._aws.get("endpoint_url_s3") or f"https://s3.{region}.amazonaws.com"
        virtual = self._aws.get("addressing_style") == "virtual"
        scheme, _, host = url.partition("://")
        endpoint = f"{scheme}://{bucket}.{host}" if virtual else url
        config: S3Config = {
            "endpoint": endpoint,
            "aws_endpoint_url_s3": endpoint,
            "region": region,
            "virtual_hosted_style_request": virtual,
        }
        if option == "SSE_KMS":
            config |= {"server_side_encryption": "aws:kms", "sse_kms_key_id": kms_key}
        elif option:
            config |= {"server_side_encryption": "AES256"}
        made = S3Store(
            bucket,
            config=config,
            client_options={
                "allow_http": scheme == "http",
                "connect_timeout": timedelta(seconds=_CONNECT_S),
                "timeout": timedelta(seconds=_REQUEST_S),
            },
            # Whoever carries the outputs tries again, and knows for how long.
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=_REQUEST_S)},
            credential_provider=self._credential,
        )
        return self._stores.setdefault((bucket, option, kms_key), made)

    def _credential(self) -> S3Credential:
        keys = self._keys()
        return {
            "access_key_id": keys["aws_access_key_id"],
            "secret_access_key": keys["aws_secret_access_key"],
            "token": keys.get("aws_session_token"),
            "expires_at": datetime.now(UTC) + self._keys_good_for,
        }


def _errors() -> type[Exception]:
    from obstore.exceptions import BaseError

    return BaseError


def _meaning(error: Exception) -> Exception:
    """Without what else is in the service's answer, such as the text that was signed."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    if status is None and _ELSEWHERE in text:
        return Refused("the bucket is in another region than the server's settings say")
    if status is None:
        return ServiceAway("the S3 service does not answer")
    said = code[1] if code else f"status {status[1]}"
    if int(status[1]) in _MAY_PASS or said in _PASSING or "Throttling" in said:
        return ServiceAway(f"the S3 service cannot take it now ({said})")
    return Refused(f"the S3 service refuses it ({said})")
