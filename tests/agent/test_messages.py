"""Frames of the link: what is written is read again, and nothing else is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkowl.agent.messages import (
    Confinement,
    DriverSpec,
    Failed,
    Message,
    MessageError,
    Run,
    Welcome,
    decode,
    encode,
)

KINDS = get_args(Message)
st.register_type_strategy(Mapping, lambda kind: st.dictionaries(*map(st.from_type, get_args(kind))))
#: Any message, but for times that are no number.
ANY = st.one_of(*(st.builds(kind) for kind in KINDS)).filter(lambda m: "NaN" not in encode(m))


@given(ANY)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.one_of(st.text(), st.binary()))
def test_any_other_frame_is_refused(frame: str | bytes) -> None:
    with pytest.raises(MessageError):
        decode(frame)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_any_json_is_a_message_or_refused(value: object) -> None:
    with suppress(MessageError):
        assert isinstance(decode(json.dumps(value)), KINDS)


def test_a_frame_that_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(MessageError):
        decode("[" * 100_000)


@pytest.mark.parametrize("kind", [None, [], {}, 1, "nonsense"])
def test_a_kind_that_is_none_is_refused(kind: object) -> None:
    with pytest.raises(MessageError):
        decode(json.dumps({"kind": kind}))


def test_a_member_too_few_is_refused_and_one_too_many_ignored() -> None:
    with pytest.raises(MessageError):
        decode('{"kind": "ack"}')
    assert decode('{"kind": "welcome", "motd": "hello"}') == Welcome()


def test_a_spec_survives_its_journey() -> None:
    spec = DriverSpec(
        driver_id="d",
        token="t",
        run_dir="/run",
        cache_dir="/cache",
        java_home=None,
        heap="1g",
        properties={"a": "b"},
        buckets={"lake": "/data/lake"},
        warm=True,
        output_limit_bytes=1,
        away_idle_s=1.5,
        away_busy_s=2.5,
        confinement=Confinement(hidden=("/a",), readable=(), writable=("/b", "/c")),
    )
    assert DriverSpec.from_json(spec.to_json()) == spec


def test_code_of_any_kind_travels() -> None:
    code = "print('\u2028\x00\U0001f989')"
    run = Run(calculation_id="c", code=code, output_dir="/o", buckets={})
    assert decode(encode(run)) == run


@pytest.mark.parametrize(
    "members",
    [
        {"seq": "1"},
        {"seq": True},
        {"seq": 1.5},
        {"calculation_id": 7},
        {"calculation_id": None},
        {"outcome": "won"},
        {"reason": ["a"]},
        {"at": "now"},
    ],
)
def test_a_member_of_another_type_is_refused(members: dict[str, object]) -> None:
    right = {"seq": 1, "calculation_id": "c", "outcome": "failed", "reason": "", "at": 1.5}

    with pytest.raises(MessageError):
        decode(json.dumps({"kind": "ended", **right, **members}))


def test_half_a_character_is_replaced() -> None:
    frame = json.dumps({"kind": "failed", "seq": 1, "reason": "a\ud800b"})

    assert decode(frame) == Failed(seq=1, reason="a?b")
