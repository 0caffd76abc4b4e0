"""The session behind the kernel, by the public API: start it, await it, ask its link, end it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from sparkowl.relay.endpoint import NoServer, athena
from sparkowl.relay.options import Options

#: The only one that there is; with it a session has a Jupyter server.
_NOTEBOOK: Final = "Athena notebook version 1"
_READY: Final = frozenset({"IDLE", "BUSY"})
#: Not DEGRADED: whether its agent comes back is known soon, and its variables may be there still.
_OVER: Final = frozenset({"TERMINATING", "TERMINATED", "FAILED"})
#: As often as the command line looks: most of a warm start is over by then.
_LOOK_EVERY_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 15.0
#: How long the end waits for a start that is under way: less than Jupyter waits before it kills.
_UNDER_WAY_S: Final = 2.0


class Over(Exception):
    """There is no session, and there will be none. The text is for the person at the notebook."""


class Away(Exception):
    """The server or the session does not answer just now. The text says what happened."""


class Session:
    """At most one session, of a start on which the relay decides."""

    def __init__(self, options: Options) -> None:
        self._options = options
        #: A repeated call, which boto3 makes after a lost answer, must not start a second one.
        self._token = str(uuid4())
        self._client: Any = None
        self._start: asyncio.Task[str] | None = None
        self._id = ""

    @property
    def id(self) -> str:
        """Empty until it has been started."""
        return self._id

    async def start(self) -> None:
        """Start the session; :class:`Over` with the reason when that fails."""
        # Kept apart from whoever waits: what was started must be known, to be ended.
        self._start = asyncio.create_task(
            asyncio.to_thread(self._call_start), name="relay: StartSession"
        )
        try:
            self._id = await asyncio.shield(self._start)
        except NoServer as error:
            raise Over(str(error)) from error
        except ClientError as error:
            raise Over(f"The session cannot be started: {_words(error)}") from error
        except BotoCoreError as error:
            raise Over(f"The server cannot be called: {error}") from error

    def _call_start(self) -> str:
        options = self._options
        self._client = athena(options.place)
        engine: dict[str, Any] = {"MaxConcurrentDpus": options.max_dpus}
        if options.properties:
            engine["SparkProperties"] = options.properties
        idle = options.idle_minutes
        started = self._client.start_session(
            WorkGroup=options.work_group,
            Description=f"Jupyter kernel {options.name}",
            EngineConfiguration=engine,
            NotebookVersion=_NOTEBOOK,
            ClientRequestToken=self._token,
            **({} if idle is None else {"SessionIdleTimeoutInMinutes": idle}),
        )
        if "SessionId" not in started:
            where = self._client.meta.endpoint_url
            raise NoServer(f"What answers at {where} is no SparkOwl server.")
        return str(started["SessionId"])

    async def ready(self, tell: Callable[[str], Awaitable[None]]) -> None:
        """Return when the session runs; :class:`Over` when it never will (again).

        ``tell`` hears why it has to wait, whenever that changes. A server that is away is awaited:
        sessions outlive a restart of it.
        """
        told, pause = "", _LOOK_EVERY_S
        while True:
            try:
                status = await self._ask("get_session_status")
            except Away as error:
                news = f"The server does not answer: {error}. Trying again."
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            else:
                state = status["Status"]["State"]
                news = status["Status"].get("StateChangeReason", "")
                if state in _READY:
                    return
                if state in _OVER:
                    raise Over(f"Session {self._id} is {state}{_because(news)}")
                pause = _LOOK_EVERY_S
            if news and news != told:
                await tell(news)
            told = news
            await asyncio.sleep(pause)

    async def link(self) -> str:
        """A link that opens the session's Jupyter, good for one visit; Away or Over."""
        return str((await self._ask("create_presigned_notebook_url"))["NotebookUrl"])

    async def end(self) -> None:
        """Terminate what was started; silent when that cannot be: its idle timeout ends it."""
        if self._start is not None and not self._id:
            with contextlib.suppress(TimeoutError, NoServer, ClientError, BotoCoreError):
                async with asyncio.timeout(_UNDER_WAY_S):
                    self._id = await asyncio.shield(self._start)
        if self._id:
            with contextlib.suppress(Away, Over):
                await self._ask("terminate_session")

    async def _ask(self, operation: str) -> Any:
        try:
            return await asyncio.to_thread(getattr(self._client, operation), SessionId=self._id)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500 or _throttled(error):
                raise Away(_words(error)) from error
            raise Over(_words(error)) from error
        except BotoCoreError as error:
            raise Away(str(error)) from error


def _throttled(error: ClientError) -> bool:
    code = str(error.response["Error"]["Code"])
    return code.startswith(("Throttling", "TooManyRequests"))


def _words(error: ClientError) -> str:
    return str(error.response["Error"].get("Message") or error)


def _because(reason: str) -> str:
    return f": {reason}" if reason else "."
