"""Messages as frames of Jupyter's WebSocket."""

# mypy: allow-untyped-calls
# Jupyter's own functions are typed only here and there.

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_server.services.kernels.connection.base import (
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)

from sparkowl.relay.messages import BadMessage, from_frame, message, to_frame

HEADER = json.dumps({"msg_id": "1", "msg_type": "execute_request"}).encode()
REST = st.lists(st.binary(max_size=50), min_size=2, max_size=6)


@given(channel=st.sampled_from(["shell", "control", "stdin", "iopub"]), rest=REST)
def test_a_frame_is_what_jupyter_itself_makes_and_reads(channel: str, rest: list[bytes]) -> None:
    sent = message(channel, [HEADER, b"{}", *rest])

    frame = to_frame(sent)

    assert frame == serialize_msg_to_ws_v1(sent.parts, channel)
    assert deserialize_msg_from_ws_v1(frame) == (channel, sent.parts)
    assert from_frame(frame) == sent


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_none(frame: bytes) -> None:
    with suppress(BadMessage):
        from_frame(frame)


@given(cut=st.integers(0, 200), at=st.integers(0, 79), other=st.integers(0, 255))
def test_a_damaged_frame_is_a_message_or_none(cut: int, at: int, other: int) -> None:
    frame = bytearray(to_frame(message("shell", [HEADER, b"{}", b"{}", b"{}", b"buffer"])))
    frame[at] = other

    with suppress(BadMessage):
        from_frame(bytes(frame[:cut]))
    with suppress(BadMessage):
        from_frame(bytes(frame))


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [HEADER, b"{}", b"{}"],
        [b"[]", b"{}", b"{}", b"{}"],
        [b"{}", b"{}", b"{}", b"{}"],
        [b"\xff", b"{}", b"{}", b"{}"],
        [b"[" * 100_000, b"{}", b"{}", b"{}"],
        [b'{"msg_id": 1, "msg_type": "x"}', b"{}", b"{}", b"{}"],
        [HEADER, b"[]", b"{}", b"{}"],
    ],
)
def test_what_has_no_header_is_no_message(parts: list[bytes]) -> None:
    with pytest.raises(BadMessage):
        message("shell", parts)


def test_text_is_no_frame() -> None:
    with pytest.raises(BadMessage, match="binary"):
        from_frame("{}")


def test_a_content_that_is_none_is_empty() -> None:
    assert message("shell", [HEADER, b"{}", b"{}", b"no"]).content == {}
