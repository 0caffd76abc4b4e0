"""``python standin.py <fd>``: in the place of a session's Jupyter process, for tests of the agent.

It speaks the desk's protocol on that descriptor. On the socket ``s`` in its folder it is told what
to do, one JSON line for each: to ask the desk, to run a cell the way a page's message goes to the
kernel, or to say what it can reach.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient

from sparkowl.agent.desk import LONGEST_FRAME, decode, encode


class StandIn:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._told: list[dict[str, Any]] = []
        self._client: AsyncKernelClient | None = None
        self._replies: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def hear(self) -> None:
        while line := await self._reader.readline():
            frame = decode(line)
            if "tell" in frame:
                self._told.append(frame)
            else:
                self._asked.pop(frame["id"]).set_result(frame)

    async def ask(self, what: str, **values: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._asked[number] = asyncio.get_running_loop().create_future()
        self._writer.write(encode({"id": number, "ask": what, **values}))
        return await self._asked[number]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        order = json.loads(await reader.readline())
        answer = await getattr(self, "do_" + order.pop("do"))(**order)
        writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    async def do_told(self) -> list[dict[str, Any]]:
        return self._told

    async def do_ask(self, what: str, **values: Any) -> dict[str, Any]:
        answer = await self.ask(what, **values)
        if what == "restart":
            self._client = None
        return answer

    async def do_cell(
        self, code: str, client: str, stop_on_error: bool, sends: bool, **content: Any
    ) -> dict[str, Any]:
        kernel = self._kernel()
        message = kernel.session.msg(
            "execute_request",
            {"code": code, "silent": False, "store_history": True, "user_expressions": {},
             "allow_stdin": False, "stop_on_error": stop_on_error} | content,
        )  # fmt: skip
        number = message["header"]["msg_id"]
        answer = await self.ask(
            "cell", msg_id=number, client=client, code=code, stop_on_error=stop_on_error
        )
        if not sends or not answer.get("answer", {}).get("run"):
            return answer
        self._replies[number] = asyncio.get_running_loop().create_future()
        kernel.shell_channel.send(message)
        return answer | {"reply": await self._replies[number]}

    def _kernel(self) -> AsyncKernelClient:
        if self._client is None:
            self._client = AsyncKernelClient()
            self._client.load_connection_file(self._told[0]["connection_file"])
            # As the kernel has it, which starts in the folder above.
            self._client.ip = f"../{self._client.ip}"
            self._client.start_channels(stdin=False, hb=False, control=False, iopub=False)
            self._tasks.add(asyncio.create_task(self._hear_replies(self._client)))
        return self._client

    async def _hear_replies(self, client: AsyncKernelClient) -> None:
        while True:
            message = await client.get_shell_msg()
            self._replies[message["parent_header"]["msg_id"]].set_result(
                {name: message["content"].get(name) for name in ("status", "execution_count")}
            )

    async def do_reach(self, path: str) -> dict[str, Any]:
        """Whether it can be listed or read, and written to."""
        place = Path(path)
        return {
            "reads": _works(
                lambda: list(place.iterdir()) if place.is_dir() else place.read_bytes()
            ),
            "writes": _works(lambda: (place / "mine" if place.is_dir() else place).write_text("x")),
        }

    async def do_see(self) -> dict[str, Any]:
        return {"cwd": str(Path.cwd()), "environment": dict(os.environ), "umask": os.umask(0o077)}

    async def do_garble(self) -> None:
        self._writer.write(b"this is no frame\n")

    async def do_die(self) -> None:
        os._exit(3)


def _works(act: Any) -> bool:
    try:
        act()
    except OSError:
        return False
    return True


async def main() -> None:
    ours = socket.socket(fileno=int(sys.argv[1]))
    one = StandIn(*await asyncio.open_connection(sock=ours, limit=LONGEST_FRAME))
    server = await asyncio.start_unix_server(one.serve, "s", limit=LONGEST_FRAME)
    async with server:
        await one.hear()


asyncio.run(main())
