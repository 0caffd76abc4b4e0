"""Clients that work without a pause worth naming: signed requests over one connection each."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit

#: What a server may say to one call too many, docs/operators/limits.md.
THROTTLES: Final = ("ThrottlingException", "TooManyRequestsException")
_SIGNED: Final = "host;x-amz-date;x-amz-target"
_LONGEST_PAUSE_S: Final = 2.0


@dataclass(slots=True)
class Tally:
    """What came back, of all clients."""

    #: Seconds of each answer that was no throttle, by operation.
    took: dict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    throttled: Counter[str] = field(default_factory=Counter)
    #: Anything else than success or a documented throttle.
    wrong: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        return sum(map(len, self.took.values()))


@dataclass(frozen=True, slots=True)
class Key:
    id: str
    secret: str = field(repr=False)


class Signer:
    """Version 4 with what repeats computed once, so that signing costs some microseconds."""

    def __init__(self, url: str, key: Key, region: str = "us-east-1") -> None:
        self.host = urlsplit(url).netloc
        self._key = key
        self._region = region
        self._day = ""
        self._signing = b""

    def request(self, operation: str, members: dict[str, Any]) -> bytes:
        body = json.dumps(members)
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        target = f"AmazonAthena.{operation}"
        digest = hashlib.sha256(body.encode()).hexdigest()
        canonical = (
            f"POST\n/\n\nhost:{self.host}\nx-amz-date:{now}\nx-amz-target:{target}\n\n"
            f"{_SIGNED}\n{digest}"
        )
        scope = f"{now[:8]}/{self._region}/athena/aws4_request"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashed}"
        signature = hmac.digest(self._of(now[:8]), text.encode(), "sha256").hex()
        return (
            f"POST / HTTP/1.1\r\nHost: {self.host}\r\nX-Amz-Date: {now}\r\n"
            f"X-Amz-Target: {target}\r\nContent-Type: application/x-amz-json-1.1\r\n"
            f"Authorization: AWS4-HMAC-SHA256 Credential={self._key.id}/{scope}, "
            f"SignedHeaders={_SIGNED}, Signature={signature}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def _of(self, day: str) -> bytes:
        if day != self._day:
            key = f"AWS4{self._key.secret}".encode()
            for part in (day, self._region, "athena", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day, self._signing = day, key
        return self._signing


class Client:
    """One user: starts a session, runs a block in it, polls all the while, ends it, and again."""

    def __init__(self, signer: Signer, tally: Tally, pause_s: float) -> None:
        self._signer = signer
        self._tally = tally
        self._pause_s = pause_s
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def work(self, over: Callable[[], bool]) -> None:
        """Until it is over; what was started is ended in any case."""
        while not over():
            started = await self._call("StartSession", WorkGroup="spark", EngineConfiguration={})
            if started is None:
                continue
            session = {"SessionId": started["SessionId"]}
            try:
                await self._until("GetSessionStatus", session, ("IDLE",), over)
                if over():
                    continue
                await self._block(session)
                await self._call("GetSession", **session)
                await self._call("ListSessions", WorkGroup="spark", MaxResults=10)
            finally:
                await self._call("TerminateSession", **session)
                await self._until("GetSessionStatus", session, ("TERMINATED",))
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def _block(self, session: dict[str, str]) -> None:
        block = await self._call("StartCalculationExecution", **session, CodeBlock="print(1)")
        if block is not None:
            named = {"CalculationExecutionId": block["CalculationExecutionId"]}
            await self._until("GetCalculationExecutionStatus", named, ("COMPLETED",))

    async def _until(
        self,
        operation: str,
        named: dict[str, str],
        good: tuple[str, ...],
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        while not over():
            answer = await self._call(operation, **named)
            if answer is None:
                return
            state = answer["Status"]["State"]
            if state in good:
                return
            if state in ("FAILED", "CANCELED", "TERMINATED", "DEGRADED"):
                self._tally.wrong[f"{operation}: {state}"] += 1
                return
            await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.5))

    async def _call(self, operation: str, **members: Any) -> dict[str, Any] | None:
        """The answer once it is no throttle; None where the call went wrong, which is counted."""
        pause_s = 0.05
        while True:
            began = perf_counter()
            try:
                status, answer = await self._exchange(self._signer.request(operation, members))
            except (OSError, EOFError) as error:
                self._tally.wrong[f"{operation}: {type(error).__name__}"] += 1
                self._writer = None
                return None
            if status == 200:
                self._tally.took[operation].append(perf_counter() - began)
                return answer
            code = str(answer.get("__type"))
            if code not in THROTTLES:
                self._tally.wrong[f"{operation}: {status} {code}"] += 1
                return None
            self._tally.throttled[operation] += 1
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _exchange(self, request: bytes) -> tuple[int, dict[str, Any]]:
        if self._writer is None:
            host, _, port = self._signer.host.partition(":")
            self._reader, self._writer = await asyncio.open_connection(host, int(port))
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        body = await self._reader.readexactly(int(length))
        if b"connection: close" in head.lower():
            self._writer.close()
            self._writer = None
        return status, json.loads(body) if body else {}
