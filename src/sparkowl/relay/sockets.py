"""The kernel's five sockets, as the connection file of a front end asks for them.

https://jupyter-client.readthedocs.io/en/stable/messaging.html
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import zmq
import zmq.asyncio
from jupyter_client.session import DELIM
from jupyter_client.session import Session as Signer

from sparkowl.relay.messages import Message, message

log = logging.getLogger(__name__)

#: The sockets that hear requests.
HEARING: Final = ("shell", "control", "stdin")
_KINDS: Final = {
    "shell": zmq.ROUTER,
    "control": zmq.ROUTER,
    "stdin": zmq.ROUTER,
    # XPUB and not PUB: it hears who subscribes, and can welcome them (JEP 65).
    "iopub": zmq.XPUB,
    "hb": zmq.ROUTER,
}
_SUBSCRIBED: Final = b"\x01"
#: What may still be on its way out when the process ends.
_LINGER_MS: Final = 1000


class BadConnection(Exception):
    """The connection file cannot be used. The text says why."""


class Sockets:
    """Bound when made; closed by :meth:`close`."""

    def __init__(self, connection_file: Path) -> None:
        try:
            given: dict[str, Any] = json.loads(connection_file.read_text())
            self._signer = Signer(
                key=given["key"].encode(), signature_scheme=given["signature_scheme"]
            )
            self._context = zmq.asyncio.Context()
            self._sockets = {name: self._bound(name, given) for name in _KINDS}
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise BadConnection(f"{connection_file}: {error}") from error
        #: Whoever reads iopub knows the kernel by this.
        self._topic = f"kernel.{self._signer.session}"

    def _bound(self, name: str, given: dict[str, Any]) -> zmq.asyncio.Socket:
        socket = self._context.socket(_KINDS[name])
        socket.linger = _LINGER_MS
        # A front end that reconnects takes the place of its old self.
        if _KINDS[name] == zmq.ROUTER:
            socket.router_handover = 1
        if given.get("curve_secretkey"):
            socket.curve_secretkey = given["curve_secretkey"].encode()
            socket.curve_publickey = given["curve_publickey"].encode()
            socket.curve_server = True
        between = "-" if given["transport"] == "ipc" else ":"
        try:
            socket.bind(f"{given['transport']}://{given['ip']}{between}{given[f'{name}_port']}")
        except zmq.ZMQError as error:
            raise ValueError(f"{name}_port {given[f'{name}_port']}: {error}") from error
        return socket

    async def requests(self, channel: str) -> AsyncIterator[tuple[list[bytes], Message]]:
        """What front ends ask, each with the way back; what is not signed by them is left out."""
        while True:
            frames = await self._sockets[channel].recv_multipart()
            try:
                way_back, signed = self._signer.feed_identities(frames)
                # Checks the signature, and that it was not seen before.
                self._signer.deserialize(signed)
                heard = message(channel, signed[1:])
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
                log.warning("A message on %s is not taken: %s", channel, str(error)[:200])
            else:
                yield way_back, heard

    async def answer(self, channel: str, way_back: list[bytes], parts: list[bytes]) -> None:
        signature = self._signer.sign(parts[:4])
        await self._sockets[channel].send_multipart([*way_back, DELIM, signature, *parts])

    async def publish(self, kind: str, parts: list[bytes], stream: str = "") -> None:
        topic = f"stream.{stream}" if stream else f"{self._topic}.{kind}"
        await self.answer("iopub", [topic.encode()], parts)

    def parts(self, kind: str, parent: dict[str, Any], content: dict[str, Any]) -> list[bytes]:
        """A message of our own."""
        header: dict[str, Any] = self._signer.msg_header(kind)
        return [self._signer.pack(part) for part in (header, parent, {}, content)]

    async def beat(self) -> None:
        """Echo the front end's heartbeat."""
        while True:
            socket = self._sockets["hb"]
            await socket.send_multipart(await socket.recv_multipart())

    async def welcome(self) -> None:
        """Tell whoever subscribes to iopub that from now on nothing is missed."""
        while True:
            said = (await self._sockets["iopub"].recv_multipart())[0]
            if said.startswith(_SUBSCRIBED):
                topic = said[1:].decode(errors="replace")
                parts = self.parts("iopub_welcome", {}, {"subscription": topic})
                await self.answer("iopub", [said[1:]] if said[1:] else [], parts)

    def close(self) -> None:
        for socket in self._sockets.values():
            socket.close()
        self._context.term()
