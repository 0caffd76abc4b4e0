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


#: As an agent of 0.1.0 and its server wrote them. An agent outlives an upgrade of its server, so
#: these are read for as long as one may run: never change a line, only add those of a release.
OF_0_1_0 = {
    "welcome": '{"kind": "welcome"}',
    "adopt": '{"kind": "adopt", "session_id": "s", "work_group": "g", "engine_version": "e", '
    '"started_at": "2026-01-01T00:00:00+00:00", "properties": {"a": "b"}, "buckets": {"c": "/d"}}',
    "run": '{"kind": "run", "calculation_id": "c", "code": "1", "output_dir": "/o", '
    '"buckets": {"c": "/d"}}',
    "cancel": '{"kind": "cancel", "calculation_id": "c"}',
    "stop": '{"kind": "stop"}',
    "ack": '{"kind": "ack", "seq": 7}',
    "ready": '{"kind": "ready", "seq": 1, "marks": {"agent": 1.5}, "spark_version": "4.1", '
    '"java_version": "21", "python_version": "3.11", "archive": "used", "isolation": "Landlock"}',
    "failed": '{"kind": "failed", "seq": 2, "reason": "The kernel died."}',
    "adopted": '{"kind": "adopted", "seq": 3, "session_id": "s"}',
    "started": '{"kind": "started", "seq": 4, "calculation_id": "c", "at": 1.5}',
    "ended": '{"kind": "ended", "seq": 5, "calculation_id": "c", "outcome": "failed", '
    '"reason": "NameError: x", "at": 2.5, "began_at": 1.5}',
    "executor": '{"kind": "executor", "seq": 6, "executor_id": "1", "cores": 2, '
    '"started_at": 1.5, "ended_at": 0.0, "reason": ""}',
    "progress": '{"kind": "progress", "calculation_id": "c", "percent": 40}',
}


#: What notebooks added since.
OF_NOTEBOOKS = {
    "adopt": '{"kind": "adopt", "session_id": "s", "work_group": "g", "engine_version": "e", '
    '"started_at": "2026-01-01T00:00:00+00:00", "properties": {"a": "b"}, "buckets": {"c": "/d"}, '
    '"jupyter_base": "/notebooks/s/", "notebook": "n.ipynb"}',
    "cell": '{"kind": "cell", "seq": 8, "calculation_id": "c", "code": "1", "at": 1.5}',
    "cancel": '{"kind": "cancel", "calculation_id": "c", "reason": "WorkGroup x is disabled."}',
    "restarted": '{"kind": "restarted", "seq": 9, "at": 1.5}',
}
PINNED = [*OF_0_1_0.items(), *OF_NOTEBOOKS.items()]


def test_every_kind_is_pinned() -> None:
    assert {kind.kind for kind in KINDS} == {kind for kind, _ in PINNED}
    assert all(json.loads(frame)["kind"] == kind for kind, frame in PINNED)


@pytest.mark.parametrize(("kind", "frame"), PINNED)
def test_a_frame_of_a_release_is_read(kind: str, frame: str) -> None:
    """Whole: what it says is in the message, and what came later has its default."""
    message = decode(frame)

    assert message.kind == kind
    assert json.loads(encode(message)).items() >= json.loads(frame).items()


@pytest.mark.parametrize("frame", [frame for _, frame in PINNED])
def test_a_member_of_a_later_release_is_ignored(frame: str) -> None:
    later = json.loads(frame) | {"of_a_later_release": {"any": ["thing"]}}

    assert decode(json.dumps(later)) == decode(frame)
