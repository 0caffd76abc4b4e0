"""Answers on their way out: small bodies at once, objects block by block."""

from __future__ import annotations

import asyncio
import logging

from sparkowl.objects.drafts import BLOCK_BYTES
from sparkowl.objects.files import Reader
from sparkowl.s3 import xml
from sparkowl.s3.calls import Answer, Context, Receive, Send
from sparkowl.s3.errors import S3Error

log = logging.getLogger(__name__)

#: Answers to which a Content-Length does not belong (RFC 9110, section 8.6).
_BODILESS = frozenset((204, 304))


def refused(refusal: S3Error, resource: str, request_id: str) -> Answer:
    """A refusal as an answer."""
    content = (
        ("Code", refusal.code),
        ("Message", str(refusal)),
        ("Resource", resource),
        ("RequestId", request_id),
    )
    return Answer(
        status=refusal.status,
        headers={"content-type": "application/xml", **refusal.headers},
        body=xml.document("Error", content),
    )


async def send_answer(
    ctx: Context, answer: Answer, method: str, receive: Receive, send: Send
) -> None:
    """Send all of an answer; an object that it reads from is closed in any case."""
    try:
        await send(start_of(answer))
        if answer.source is None or method == "HEAD" or not answer.size_bytes:
            await send({"type": "http.response.body", "body": answer.body})
        else:
            await _stream(ctx, answer, answer.source, receive, send)
    finally:
        if answer.source is not None:
            answer.source.close()


def start_of(answer: Answer) -> dict[str, object]:
    """The message that an answer begins with."""
    headers = dict(answer.headers)
    if answer.status not in _BODILESS:
        size = len(answer.body) if answer.source is None else answer.size_bytes
        headers["content-length"] = str(size)
    return {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers.items()],
    }


async def _stream(
    ctx: Context, answer: Answer, source: Reader, receive: Receive, send: Send
) -> None:
    offset, end = answer.offset, answer.offset + answer.size_bytes
    async with asyncio.TaskGroup() as tasks:
        # The server lets us send to a client that has left; only receiving tells.
        gone = tasks.create_task(_left(receive), name="s3 client leaves")
        while offset < end and not gone.done():
            block = await ctx.run(source.read, offset, min(BLOCK_BYTES, end - offset))
            if not block:
                # Truncated by others. Its length was promised: ending early breaks the connection,
                # which is how the client learns.
                log.warning("an object became shorter while it was sent")
                break
            offset += len(block)
            await send({"type": "http.response.body", "body": block, "more_body": offset < end})
        gone.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
