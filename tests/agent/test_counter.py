"""The agent's side of the desk, and the cells that wait at it; without a kernel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import socketpair
from typing import Any

import pytest

from sparkowl.agent import cells, counter
from sparkowl.agent.cells import Cells
from sparkowl.agent.counter import Counter
from sparkowl.agent.desk import LONGEST_FRAME, DeskError
from sparkowl.agent.leftovers import Leftovers
from sparkowl.agent.messages import Cell, encode
from sparkowl.agent.outbox import Outbox
from sparkowl.domain import cell as domain_cell


@dataclass
class Desk:
    """The other side of a conversation that is served."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    served: asyncio.Task[None]
    counter: Counter
    #: Lets the question "wait" be answered.
    go: asyncio.Event
    #: How many of those were given up.
    given_up: int = 0

    def say(self, line: bytes) -> None:
        self.writer.write(line + b"\n")

    def ask(self, number: object, what: str, **values: object) -> None:
        self.say(json.dumps({"id": number, "ask": what, **values}).encode())

    async def hear(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await self.reader.readline())
        return frame


@asynccontextmanager
async def opened() -> AsyncIterator[Desk]:
    ours, theirs = socketpair()
    go = asyncio.Event()

    async def wait(_asked: Mapping[str, Any]) -> dict[str, Any]:
        try:
            await go.wait()
        except asyncio.CancelledError:
            one.given_up += 1
            raise
        return {"waited": True}

    async def echo(asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"said": asked["text"]}

    async def refuse(_asked: Mapping[str, Any]) -> dict[str, Any]:
        raise DeskError(418, "Not here.")

    async def grow(_asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"text": "x" * LONGEST_FRAME}

    answers = {"wait": wait, "echo": echo, "refuse": refuse, "grow": grow}
    reader, writer = await asyncio.open_connection(sock=ours, limit=LONGEST_FRAME)
    agent = Counter(reader, writer, answers)
    one = Desk(
        *await asyncio.open_connection(sock=theirs, limit=LONGEST_FRAME),
        served=asyncio.create_task(agent.serve()),
        counter=agent,
        go=go,
    )
    yield one
    one.writer.close()
    await one.served
    writer.close()
    for closing in (one.writer, writer):
        with suppress(ConnectionError):
            await closing.wait_closed()


async def test_answers_come_as_they_are_ready() -> None:
    async with opened() as desk:
        desk.ask(1, "wait")
        desk.ask(2, "echo", text="\u00e4")
        assert await desk.hear() == {"id": 2, "answer": {"said": "\u00e4"}}
        desk.go.set()
        assert await desk.hear() == {"id": 1, "answer": {"waited": True}}


async def test_what_is_told_has_no_number() -> None:
    async with opened() as desk:
        desk.counter.tell("serve", base_url="/")
        assert await desk.hear() == {"tell": "serve", "base_url": "/"}


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("refuse", {"status": 418, "message": "Not here."}),
        ("dance", {"status": 400, "message": "Nobody here answers 'dance'."}),
        ("grow", {"status": 413, "message": "The answer is too long."}),
    ],
)
async def test_a_refusal_has_a_status_and_words(what: str, error: dict[str, object]) -> None:
    async with opened() as desk:
        desk.ask("a", what)
        assert await desk.hear() == {"id": "a", "error": error}


@pytest.mark.parametrize(
    "line",
    [b"no frame", b"[]", b'{"ask": "echo"}', b'{"id": 1}', b"[" * 100_000, b"\xff"],
    ids=["words", "a list", "no id", "no question", "deep", "bytes"],
)
async def test_a_frame_that_is_none_ends_the_conversation(line: bytes) -> None:
    async with opened() as desk:
        desk.ask(1, "wait")
        desk.ask(2, "echo", text="")
        await desk.hear()
        desk.say(line)
        await asyncio.wait_for(desk.served, 10)
        assert desk.given_up == 1


async def test_so_many_questions_are_open_at_once_and_no_more() -> None:
    async with opened() as desk:
        for number in range(counter._MOST_OPEN):
            desk.ask(number, "wait")
        desk.ask("more", "echo", text="")
        assert (await desk.hear())["error"]["status"] == 429
        desk.go.set()
        for _ in range(counter._MOST_OPEN):
            assert "answer" in await desk.hear()
        desk.ask("again", "echo", text="")
        assert await desk.hear() == {"id": "again", "answer": {"said": ""}}


async def test_a_thousand_cells_wait_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "outbox").mkdir()
    outbox = Outbox(tmp_path / "outbox", Leftovers())
    one = Cells(outbox)
    waiting = [
        asyncio.create_task(one.may_run(f"m{n}", "tab", f"{n}", stop_on_error=True))
        for n in range(cells.MOST)
    ]
    await asyncio.sleep(0)

    with pytest.raises(DeskError) as refused:
        await one.may_run("m", "tab", "1", stop_on_error=True)
    assert refused.value.status == 429

    facts = [fact for fact in outbox.after(0) if isinstance(fact, Cell)]
    assert [fact.code for fact in facts] == [str(n) for n in range(cells.MOST)]
    assert len({fact.calculation_id for fact in facts}) == cells.MOST
    first = one.take(facts[0].calculation_id)
    assert first is not None
    first.tell(run=True)
    assert one.take(facts[0].calculation_id) is None
    assert len(list(one.refuse(lambda cell: cell.client == "tab"))) == cells.MOST - 1
    assert await asyncio.gather(*waiting) == [True] + [False] * (cells.MOST - 1)


async def test_a_cell_that_the_server_refuses_is_answered_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "outbox").mkdir()
    one = Cells(Outbox(tmp_path / "outbox", Leftovers()))
    waiting = asyncio.create_task(one.may_run("m", "tab", "1", stop_on_error=True))
    await asyncio.sleep(0)

    assert len(list(one.refuse(lambda _cell: True, "WorkGroup spark is disabled."))) == 1

    with pytest.raises(DeskError, match=r"WorkGroup spark is disabled\."):
        await waiting


async def test_a_cell_that_nobody_may_run_does_not_break_the_link(tmp_path: Path) -> None:
    """The server takes frames of 16 MiB, and what it does not take is sent again for ever."""
    (tmp_path / "outbox").mkdir()
    outbox = Outbox(tmp_path / "outbox", Leftovers())
    code = "\N{OWL}" * (2 << 20)
    asked = asyncio.create_task(Cells(outbox).may_run("m", "tab", code, stop_on_error=True))
    await asyncio.sleep(0)

    (fact,) = outbox.after(0)
    assert isinstance(fact, Cell)
    assert domain_cell.too_long(fact.code) is not None
    assert domain_cell.too_long(fact.code[:-1]) is None
    assert len(encode(fact)) < 16 << 20
    asked.cancel()


@pytest.mark.parametrize(("msg_id", "client"), [("m" * 201, "tab"), ("m", "t" * 201)])
async def test_an_id_is_not_kept_that_is_longer_than_any(
    tmp_path: Path, msg_id: str, client: str
) -> None:
    outbox = Outbox(tmp_path, Leftovers())
    async with asyncio.timeout(10):
        with pytest.raises(DeskError) as refused:
            await Cells(outbox).may_run(msg_id, client, "1", stop_on_error=True)

    assert refused.value.status == 400
    assert outbox.after(0) == []
