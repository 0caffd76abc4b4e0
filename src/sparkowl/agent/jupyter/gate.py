"""Between a page's WebSocket and the kernel: a cell runs when the agent says so, and not before.

Everything that a page sends is looked at by its type, on whatever channel it comes. What runs code
for its user goes through the desk; what would go round the agent to the kernel's life is asked of
the agent; what merely looks (completion, help, widgets, the debugger) passes; the rest is dropped.
"""

# mypy: allow-untyped-calls
# Jupyter's own classes are typed only here and there.

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any, Final

from jupyter_client.jsonutil import json_default
from jupyter_server.services.kernels.connection.base import (
    deserialize_binary_message,
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from tornado.websocket import WebSocketClosedError

from sparkowl.agent.desk import DeskError
from sparkowl.agent.jupyter.unseen import Frame, Unseen
from sparkowl.agent.messages import taken_by_page

_BINARY: Final = "v1.kernel.websocket.jupyter.org"
_PASS: Final = frozenset(
    {
        "comm_close", "comm_info_request", "comm_msg", "comm_open", "complete_request",
        "connect_request", "create_subshell_request", "debug_request", "delete_subshell_request",
        "history_request", "input_reply", "inspect_request", "is_complete_request",
        "kernel_info_request", "list_subshell_request",
    }
)  # fmt: skip
#: A page can send anything at all.
_MALFORMED: Final = (ValueError, KeyError, TypeError, IndexError, AttributeError)
#: Around the channel and a message's four parts.
_FEWEST_OFFSETS: Final = 6
#: A kernel that user code has broken may never greet. The page finds out what else is wrong.
_GREETING_WITHIN_S: Final = 3.0
#: Of how many pages that went it is kept what they had not taken.
_PAGES_LEFT: Final = 4
_TOO_FAST: Final = "Output came faster than a page can show: some of it is not shown here."


class Message:
    """What came from a page, in either of Jupyter's two forms."""

    def __init__(self, sent: str | bytes, *, binary: bool) -> None:
        """Raise one of ``_MALFORMED`` for what is no message."""
        self.parts: list[bytes] = []
        self.whole: dict[str, Any] = {}
        if binary:
            channel, self.parts = deserialize_msg_from_ws_v1(_sound(sent))
            self.header = json.loads(self.parts[0])
            self._content: Any = None
        else:
            is_bytes = isinstance(sent, bytes)
            self.whole = deserialize_binary_message(sent) if is_bytes else json.loads(sent)
            channel = self.whole.pop("channel", None) or "shell"
            self.header = self.whole["header"]
            self._content = self.whole["content"]
        self.channel = str(channel)
        self.type = str(self.header["msg_type"])
        self.id = str(self.header["msg_id"])
        self.client = str(self.header["session"])

    def content(self) -> dict[str, Any]:
        if self._content is None:
            self._content = json.loads(self.parts[3])
        if not isinstance(self._content, dict):
            raise TypeError("the content is no object")
        return self._content


async def _done_or_late(greeting: asyncio.Future[None]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_GREETING_WITHIN_S):
            await asyncio.shield(greeting)


def _sound(frame: str | bytes) -> bytes:
    """A binary frame that says nothing impossible of itself: Jupyter would count to 2^64."""
    if not isinstance(frame, bytes):
        raise TypeError("a binary protocol")
    offsets = int.from_bytes(frame[:8], "little")
    if not _FEWEST_OFFSETS <= offsets < len(frame) // 8:
        raise ValueError("more offsets than bytes")
    return frame


class Gate(ZMQChannelsWebsocketConnection):
    """One page's connection."""

    #: The kernel has this connection's subscription. None: made before, for a page that was away.
    _greeting: asyncio.Future[None] | None = None
    #: What the kernel has and did not reply to yet, by its message.
    _running: dict[str, tuple[Gate, Message]] = {}  # noqa: RUF012 - of all connections
    #: Held, as the loop itself holds tasks only weakly.
    _waiting: set[asyncio.Task[None]] = set()  # noqa: RUF012 - of all connections
    #: What pages that went had not taken, by their session keys: each page load has its own.
    _left: dict[str, list[Frame]] = {}  # noqa: RUF012 - of all connections

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._unseen = Unseen()

    @classmethod
    def tell_all(cls, state: str) -> None:
        """A state of the kernel to every page that is open."""
        for connection in list(cls._open_sockets):
            connection._send_status_message(state)

    @classmethod
    def reconnect_all(cls) -> None:
        """To a kernel that has just taken another's place; what the other ran is over.

        No page is told "restarting": it would take that for a death, and say so.
        """
        for gate, message in list(cls._running.values()):
            gate._current()._abort(message)
        cls._running.clear()
        for connection in list(cls._open_sockets):
            if isinstance(connection, cls):
                connection.reconnect()

    def reconnect(self) -> None:
        for stream in self.channels.values():
            if not stream.closed():
                stream.on_recv(None)
                stream.close()
        self.session.key = self.kernel_manager.session.key
        self.channels = {}
        self.create_stream()
        for stream in self.channels.values():
            stream.on_recv_stream(self.handle_outgoing_message)

    def create_stream(self) -> None:
        super().create_stream()
        self._greeting = asyncio.get_running_loop().create_future()

    def nudge(self) -> asyncio.Future[None]:
        """Done when nothing that the kernel publishes will be missed any more.

        Jupyter asks kernels over and over until one publishes something. Ours greets each new
        subscriber (ipykernel 7), also while it is busy.
        """
        if self._greeting is None:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        self.channels["iopub"].on_recv(self._greeted)
        return asyncio.ensure_future(_done_or_late(self._greeting))

    def _greeted(self, parts: list[bytes]) -> None:
        if self._greeting is not None and not self._greeting.done():
            self._greeting.set_result(None)
        self.handle_outgoing_message("iopub", parts)

    def connect(self) -> asyncio.Future[None] | None:  # type: ignore[override]  # as its base's
        """As Jupyter does. A page that is back gets first what it had not taken when it went."""
        again = self._left.pop(self.session_key, [])
        for other in list(self._open_sockets):
            # The page may be back before its old connection was missed.
            if isinstance(other, Gate) and other.session_key == self.session_key:
                again += other._unseen.drain()
        # Only a server that acknowledges leaves any.
        self._unseen = Unseen(acknowledged=bool(again))
        for frame in again:
            self.write_message(frame.content, binary=frame.binary)
        connected: asyncio.Future[None] | None = super().connect()
        return connected

    def disconnect(self) -> None:  # type: ignore[override]  # as its base's
        unseen = self._unseen.drain()
        # What comes after another connection of the page, that one has itself.
        if unseen and self._current() is self:
            self._left.setdefault(self.session_key, []).extend(unseen)
        while len(self._left) > _PAGES_LEFT:
            del self._left[next(iter(self._left))]
        super().disconnect()

    def write_message(self, content: str | bytes, *, binary: bool = False) -> None:
        """What this connection fails to take while it ends is kept for the page's next one."""
        self._unseen.add(Frame(content, binary))
        with suppress(WebSocketClosedError):
            self.websocket_handler.write_message(content, binary=binary)

    def handle_incoming_message(self, incoming_msg: str | bytes) -> None:
        taken = taken_by_page(incoming_msg)
        if taken is not None:
            self._unseen.taken(taken)
            return
        try:
            message = Message(incoming_msg, binary=self.subprotocol == _BINARY)
            if message.type == "execute_request":
                self._execute(message)
                return
        except _MALFORMED as error:
            self.log.warning("a page sent what is no message: %s", type(error).__name__)
            return
        if message.type == "interrupt_request":
            self._later(self._interrupt(message))
        elif message.type in _PASS and message.channel in self.channels:
            self._send(message, message.channel)
        else:
            self.log.warning("a page's %.40r is not for the kernel", message.type)

    def handle_outgoing_message(self, stream: Any, outgoing_msg: list[Any]) -> None:
        if getattr(stream, "channel", stream) == "shell":
            with suppress(*_MALFORMED):  # user code has the kernel's key, and can say anything
                _, parts = self.session.feed_identities(outgoing_msg)
                self._running.pop(json.loads(bytes(parts[2]))["msg_id"], None)
        super().handle_outgoing_message(stream, outgoing_msg)

    def _execute(self, message: Message) -> None:
        content = message.content()
        code = content["code"]
        if not code.strip() and not content.get("user_expressions"):
            self._send(message, "shell")
            return
        # Asked before this returns, so that cells keep the order that they were sent in.
        answer = self._desk.ask(
            "cell",
            msg_id=message.id,
            client=message.client,
            code=code,
            stop_on_error=bool(content.get("stop_on_error", True)),
        )
        self._later(self._run_or_not(message, answer))

    async def _run_or_not(self, message: Message, answer: asyncio.Future[dict[str, Any]]) -> None:
        try:
            run = (await answer)["run"]
        except DeskError as error:
            self._current()._fail(message, f"The cell was not run: {error}")
            return
        if run:
            self._running[message.id] = self, message
            self._current()._send(message, "shell")
        else:
            self._current()._abort(message)

    async def _interrupt(self, message: Message) -> None:
        content = {"status": "ok"}
        try:
            await self._desk.ask("interrupt")
        except DeskError as error:
            content = {"status": "error", "ename": "InterruptFailed", "evalue": str(error)}
        self._tell("control", "interrupt_reply", content, message)

    @property
    def _desk(self) -> Any:
        return self.multi_kernel_manager.parent.desk

    def _later(self, what: Any) -> None:
        task = asyncio.get_running_loop().create_task(what)
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    def _current(self) -> Gate:
        """The page's connection now: it may have been lost and made anew while a cell waited."""
        handler = self._open_sessions.get(self.session_key)
        connection = getattr(handler, "connection", None)
        return connection if isinstance(connection, Gate) and connection.channels else self

    def _send(self, message: Message, channel: str) -> None:
        """To the kernel, as it came. What a page asked for runs also when it is closed since."""
        stream: Any = self.channels.get(channel)
        alone = stream is None or stream.closed()
        if alone:
            self.session.key = self.kernel_manager.session.key
            stream = self.kernel_manager.connect_shell(identity=self.session.bsession)
        if message.parts:
            self.session.send_raw(stream, message.parts)
        else:
            self.session.send(stream, message.whole)
        if alone:
            stream.flush()
            stream.close()

    def _abort(self, message: Message) -> None:
        """What ipykernel says of a cell behind one that failed."""
        aborted = {"status": "aborted"}
        self._around(message, lambda: self._tell("shell", "execute_reply", aborted, message))

    def _fail(self, message: Message, why: str) -> None:
        error = {"ename": "NotRun", "evalue": why, "traceback": [why]}

        def say() -> None:
            self._tell("iopub", "error", error, message)
            self._tell("shell", "execute_reply", {"status": "error"} | error, message)

        self._around(message, say)

    def _around(self, message: Message, say: Any) -> None:
        """A page takes a cell for done at its reply and the idle after it."""
        self._tell("iopub", "status", {"execution_state": "busy"}, message)
        say()
        self._tell("iopub", "status", {"execution_state": "idle"}, message)

    def _tell(self, channel: str, kind: str, content: dict[str, Any], message: Message) -> None:
        """As if the kernel had said it."""
        said = self.session.msg(kind, content=content, parent=message.header)
        said["metadata"] = {"status": content["status"]} if "status" in content else {}
        said["parent_header"] = message.header
        if self.subprotocol == _BINARY:
            packed = serialize_msg_to_ws_v1(said, channel, self.session.pack)
            self.write_message(packed, binary=True)
        else:
            said["channel"] = channel
            self.write_message(json.dumps(said, default=json_default))

    def write_stderr(self, error_message: str, parent_header: dict[str, Any]) -> None:
        """Only said when the rate is too high; of a setting that nobody can reach from here."""
        super().write_stderr(_TOO_FAST, parent_header)
