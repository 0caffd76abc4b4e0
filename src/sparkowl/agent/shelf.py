"""The session's notebook, fetched from the server and saved there.

Over HTTP, at the address that the link dials, with the link's token:
``GET`` and ``PUT /_sparkowl/drivers/<driver id>/notebook``. The server's times are seconds since
the epoch, ours here ISO 8601.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from sparkowl.agent.desk import LONGEST_FRAME, DeskError

_PATH: Final = "/_sparkowl/drivers/{driver_id}/notebook"
_TIMEOUT_S: Final = 20.0
_WHY_LIMIT: Final = 500
_AWAY: Final = "The SparkOwl server cannot be reached at the moment."


class _NoRedirects(HTTPRedirectHandler):
    """The token is for the server alone."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Shelf:
    def __init__(self, driver_id: str, token: str, url_file: Path) -> None:
        self._path = _PATH.format(driver_id=driver_id)
        self._token = token
        self._url_file = url_file
        # Like the link: whatever proxy the machine has is not for this.
        self._opener = build_opener(ProxyHandler({}), _NoRedirects)

    async def notebook(self) -> dict[str, Any]:
        """The last saved content: ``name``, ``payload``, ``modified_at``, ``version``.

        :class:`DeskError` with the server's own status and words where it refuses, 503 where it
        cannot be reached.
        """
        return await asyncio.to_thread(self._ask, "GET", None)

    async def save(self, payload: str) -> dict[str, Any]:
        """Save it; ``modified_at`` and ``version``."""
        body = json.dumps({"payload": payload}, ensure_ascii=False)
        # Half a character is possible in Python's text, and not in UTF-8.
        return await asyncio.to_thread(self._ask, "PUT", body.encode("utf-8", "replace"))

    def _ask(self, method: str, body: bytes | None) -> dict[str, Any]:
        try:
            # Read each time: a server that starts again may listen elsewhere.
            server = self._url_file.read_text().strip().rstrip("/")
            request = Request(  # noqa: S310 - the server's own address, http or https
                # ws:// becomes http://, wss:// https://.
                "http" + server.removeprefix("ws") + self._path,
                data=body,
                method=method,
                headers={
                    "Authorization": f"Bearer {self._token}",
                    "Content-Type": "application/json",
                },
            )
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                return _with_time(json.loads(answer.read(LONGEST_FRAME)))
        except HTTPError as error:
            with error:
                raise _refused(error.code, error.read(LONGEST_FRAME)) from error
        except (URLError, HTTPException, OSError, ValueError, TypeError, KeyError) as error:
            # Also when somebody else listens on its port meanwhile.
            raise DeskError(503, _AWAY) from error


def _with_time(answer: dict[str, Any]) -> dict[str, Any]:
    at = datetime.fromtimestamp(answer["modified_at"], UTC)
    return answer | {"modified_at": at.isoformat()}


def _refused(status: int, body: bytes) -> DeskError:
    """What the server said, where it refuses; where it fails or is not there yet, that it does."""
    if not 400 <= status < 500:
        return DeskError(503, _AWAY)
    text = body.decode(errors="replace").strip()
    try:
        said = json.loads(text)
        text = str(said["message"])
    except (ValueError, TypeError, KeyError):
        pass
    return DeskError(status, text[:_WHY_LIMIT] or f"The server answered {status}.")
