"""Clients that are slow, large, many, or odd, one connection at a time; the test turns the time."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import pytest
from tests.http.port import Client, port, until

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
HOLD = b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n"
BODY = b"POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"


# --- times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"", b"GET / HTT", GET[:-2]], ids=["nothing", "line", "headers"])
async def test_a_head_must_be_whole_in_time(start: bytes) -> None:
    async with port(head_s=15) as here:
        client = await here.connect(start)
        await until(lambda: len(here.connections) == 1)

        here.later(14)
        assert len(here.connections) == 1
        here.later(15)

        assert await client.rest() == b""
        await until(lambda: len(here.connections) == 0)
        assert here.app.entered == 0


async def test_bytes_of_a_head_buy_no_time() -> None:
    async with port(head_s=15) as here:
        client = await here.connect(GET)
        assert await client.answered() == b"hello"
        client.send(b"GET / ")
        await asyncio.sleep(0.01)
        here.later(10)
        client.send(b"HTTP/1.1\r\n")
        await asyncio.sleep(0.01)

        here.later(15.1)

        assert await client.rest() == b""


async def test_a_body_that_stops_ends_its_request() -> None:
    async with port(stall_s=30) as here:
        client = await here.connect(BODY + b"x")
        await until(lambda: here.app.read == 1)

        here.later(0)
        here.later(29)
        assert here.app.disconnected == 0
        here.later(31)

        assert await client.rest() == b""
        await until(lambda: here.app.disconnected == 1)


async def test_a_body_that_trickles_ends_its_request_and_a_slow_one_does_not() -> None:
    async with port(stall_s=30, pace_s=60, least_bytes_per_s=100) as here:
        slow = await here.connect(BODY)
        trickling = await here.connect(BODY)
        await until(lambda: here.app.entered == 2)
        here.later(0)

        read = 0
        for seconds in (20, 40, 61):
            slow.send(b"x" * 3_000)
            trickling.send(b"x")
            read += 3_001
            await until(lambda: here.app.read == read)  # noqa: B023
            here.later(seconds)

        assert await trickling.rest() == b""
        assert len(here.connections) == 1
        slow.send(b"x" * (1_000_000 - 9_000))
        await slow.head()


async def test_the_last_block_of_an_answer_may_take_longer_than_a_connection_may_be_idle() -> None:
    async with port(connections=1, stall_s=30, keep_alive_s=60) as here:
        slow = await here.connect(b"GET /block HTTP/1.1\r\nHost: h\r\n\r\n")
        await slow.head()
        [connection] = here.connections._open
        await until(lambda: here.app.left == 1)
        for seconds in (0, 29, 58, 87, 116):
            here.later(seconds)
            before = connection.transport.get_write_buffer_size()
            while connection.transport.get_write_buffer_size() == before:
                assert await asyncio.wait_for(slow.reader.read(1 << 16), 20)
        assert before > 0
        newest = await here.connect(GET)
        assert (await newest.head()).startswith(b"HTTP/1.1 503 ")

        while not (await asyncio.wait_for(slow.reader.read(1 << 16), 20)).endswith(b"."):
            pass
        await until(lambda: connection.transport.get_write_buffer_size() == 0)
        here.later(200)
        assert await slow.rest() == b""


async def test_a_call_that_the_stop_cuts_short_is_not_answered_with_an_error() -> None:
    """After a 500 its client would call again, though the call may have taken effect."""
    async with port() as here:
        client = await here.connect(HOLD)
        await until(lambda: here.calls)

        for call in here.calls:
            call.cancel()

        assert await client.rest() == b""


async def test_what_came_while_the_server_was_frozen_was_not_late() -> None:
    async with port(head_s=0.5, stall_s=0.5) as here:
        watching = asyncio.create_task(here.connections.watch())
        body = await here.connect(BODY + b"x")
        await until(lambda: here.app.read == 1)
        head = await here.connect(GET[:-2])
        await until(lambda: len(here.connections) == 2)

        # The loop stands still, as under SIGSTOP, and looks before it reads.
        time.sleep(1)
        await asyncio.sleep(0.15)

        head.send(GET[-2:])
        body.send(b"x" * 999_999)
        assert await head.answered() == b"hello"
        assert await body.answered() == b"1000000"
        watching.cancel()


async def test_a_client_that_the_server_keeps_waiting_is_not_slow() -> None:
    async with port() as here:
        full = await here.connect(BODY.replace(b"/body", b"/hold") + b"x" * 200_000)
        waits = await here.connect(BODY.replace(b"Host", b"Expect: 100-continue\r\nHost"))
        held = await here.connect(HOLD)
        await until(lambda: here.app.entered == 3)
        assert await waits.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await asyncio.sleep(0.01)

        here.later(0)
        # The one that was asked for its body is slow from now on.
        here.later(100)

        assert await waits.rest() == b""
        here.app.let_go.set()
        assert await held.answered() == b"held"
        assert await full.answered() == b"held"


async def test_whoever_never_reads_holds_no_memory_and_is_cut_off() -> None:
    async with port(stall_s=30) as here:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, ("127.0.0.1", here.number))
        await loop.sock_sendall(raw, b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: here.app.entered == 1)
        [connection] = here.connections._open
        await until(lambda: connection.transport.get_write_buffer_size() > 0)
        await asyncio.sleep(0.05)
        assert connection.transport.get_write_buffer_size() < 3 << 20

        here.later(0)
        here.later(29)
        assert here.app.left == 0
        here.later(31)

        await until(lambda: here.app.left == 1)
        assert len(here.connections) == 0
        raw.close()


async def test_an_idle_connection_whose_last_answer_nobody_reads_is_cut_off() -> None:
    async with port(stall_s=30) as here:
        client = await here.connect(b"GET /large HTTP/1.0\r\n\r\n")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: here.app.entered == 1)
        here.app.let_go.set()
        here.later(0)
        here.later(31)
        await until(lambda: len(here.connections) == 0)


async def test_what_comes_of_a_body_after_its_answer_is_borne_for_a_while_only() -> None:
    async with port() as here:
        client = await here.connect(BODY.replace(b"/body", b"/") + b"x")
        assert await client.answered() == b"hello"
        client.send(b"x" * 1_000)
        await asyncio.sleep(0.01)

        here.later(16)

        assert await client.rest() == b""


async def test_a_connection_is_kept_when_the_body_came_after_its_answer() -> None:
    async with port(keep_alive_s=60) as here:
        client = await here.connect(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
        assert await client.answered() == b"hello"
        client.send(b"cde")
        await asyncio.sleep(0.01)
        here.later(50)
        client.send(GET)
        assert await client.answered() == b"hello"

        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n")
        assert await client.answered() == b"hello"
        client.send(b"ab")
        await asyncio.sleep(0.01)
        here.later(62)
        assert await client.rest() == b""


# --- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 70_000,
        b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"x" * 70_000,
        b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 201 + b"\r\n",
    ],
    ids=["path", "unfinished", "header", "headers"],
)
async def test_a_head_that_is_too_large_is_refused(head: bytes) -> None:
    async with port(head_bytes=64 << 10, headers=200) as here:
        client = await here.connect(head)

        assert (await client.head()).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
        client.send(b"x" * 100_000)
        here.later(3)
        assert await client.rest() == b"Request Header Fields Too Large"
        await until(lambda: len(here.connections) == 0)
        assert here.app.entered == 0


@pytest.mark.parametrize(
    "trailer", [b"A: " + b"x" * 70_000, b"A: b\r\n" * 202], ids=["large", "many"]
)
async def test_a_trailer_that_is_too_large_is_refused(trailer: bytes) -> None:
    chunked = b"POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    async with port(head_bytes=64 << 10, headers=200) as here:
        client = await here.connect(chunked)
        await until(lambda: here.app.read == 1)
        client.send(trailer)

        assert (await client.head()).startswith(b"HTTP/1.1 431 ")
        await until(lambda: here.app.disconnected == 1)


async def test_a_trailer_that_is_small_is_taken() -> None:
    async with port() as here:
        client = await here.connect(
            b"POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\nx\r\n0\r\nA: b\r\n\r\n"
        )
        assert await client.answered() == b"1"


async def test_what_is_no_http_is_refused() -> None:
    async with port() as here:
        client = await here.connect(b"\x16\x03\x01 hello\r\n\r\n")

        assert (await client.head()).startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_requests_that_come_before_their_turn_are_few() -> None:
    async with port() as here:
        few = await here.connect(GET * 10)
        assert [await few.answered() for _ in range(10)] == [b"hello"] * 10
        many = await here.connect(HOLD + GET * 1_000)

        assert await many.rest() == b""
        assert here.app.entered == 11


# --- numbers -------------------------------------------------------------------------------------


async def test_a_new_connection_takes_the_place_of_the_one_that_was_idle_for_longest() -> None:
    async with port(connections=3) as here:
        clients: list[Client] = []
        for _ in range(3):
            clients.append(await here.connect(GET))
            assert await clients[-1].answered() == b"hello"
        clients[0].send(GET)
        assert await clients[0].answered() == b"hello"

        newest = await here.connect(GET)

        assert await newest.answered() == b"hello"
        assert await clients[1].rest() == b""
        for other in (clients[0], clients[2]):
            other.send(GET)
            assert await other.answered() == b"hello"
        assert len(here.connections) == 3


@pytest.mark.parametrize(
    ("request_head", "said"),
    [
        (b"POST / HTTP/1.1\r\nHost: h\r\nX-Amz-Target: AmazonAthena.X\r\n\r\n", "Throttling"),
        (b"GET /bucket HTTP/1.1\r\nHost: h\r\n\r\n", "<Code>SlowDown</Code>"),
    ],
)
async def test_where_all_are_busy_a_new_one_is_told_to_come_back(
    request_head: bytes, said: str
) -> None:
    async with port(connections=2) as here:
        held = [await here.connect(HOLD) for _ in range(2)]
        await until(lambda: here.app.entered == 2)

        client = await here.connect(request_head)
        text = (await client.rest()).decode()

        assert text.startswith("HTTP/1.1 503 ")
        assert "retry-after: 1\r\n" in text
        assert said in text
        if said == "Throttling":
            body = json.loads(text.partition("\r\n\r\n")[2])
            assert body["__type"] == "ThrottlingException"
        here.app.let_go.set()
        assert [await one.answered() for one in held] == [b"held"] * 2


async def test_there_is_an_end_to_those_that_are_told_so_too() -> None:
    async with port(connections=2) as here:
        for _ in range(2):
            await here.connect(HOLD)
        await until(lambda: here.app.entered == 2)
        more = [await here.connect() for _ in range(200)]
        await until(lambda: len(here.connections) <= 2 + here.connections.bounds.refusable)

        assert await more[0].rest() == b""


# --- odd ones ------------------------------------------------------------------------------------


async def test_half_closed_connections_are_not_held() -> None:
    async with port() as here:
        for text in (b"", b"GET /", BODY, BODY + b"x"):
            client = await here.connect(text)
            client.writer.write_eof()
            assert await client.rest() == b""
        await until(lambda: len(here.connections) == 0)


async def test_http_1_0_is_answered_and_closed() -> None:
    async with port() as here:
        client = await here.connect(b"GET / HTTP/1.0\r\n\r\n")

        assert (await client.rest()).endswith(b"hello")
        await until(lambda: len(here.connections) == 0)


UPGRADE = (
    b"GET /link HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def test_a_websocket_is_counted_while_it_lasts() -> None:
    async with port(connections=2) as here:
        link = await here.connect(UPGRADE)
        assert (await link.head()).startswith(b"HTTP/1.1 101 ")

        here.later(10_000)
        assert len(here.connections) == 1
        link.writer.close()

        await until(lambda: len(here.connections) == 0)


async def test_a_driver_finds_its_place_where_all_are_busy() -> None:
    async with port(connections=1) as here:
        await here.connect(HOLD)
        await until(lambda: here.app.entered == 1)

        link = await here.connect(UPGRADE)

        assert (await link.head()).startswith(b"HTTP/1.1 101 ")
        here.app.let_go.set()


async def test_no_websocket_begins_while_a_request_is_under_way() -> None:
    async with port() as here:
        client = await here.connect(HOLD + UPGRADE)

        assert (await client.head()).startswith(b"HTTP/1.1 400 ")
        here.later(3)
        await client.rest()
        await until(lambda: len(here.connections) == 0)


@pytest.mark.parametrize(
    "handshake",
    [
        UPGRADE.replace(b"GET", b"POST"),
        UPGRADE.replace(b"/link", b"/" + b"x" * 9_000),
    ],
    ids=["method", "path"],
)
async def test_a_handshake_that_is_none_holds_no_place(handshake: bytes) -> None:
    async with port(connections=2) as here:
        client = await here.connect(handshake)

        assert (await client.head()).startswith(b"HTTP/1.1 ")
        await client.rest()
        await until(lambda: len(here.connections) == 0)
