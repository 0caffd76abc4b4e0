"""The load program in its short form: a real server, real connections, nothing but throttles."""

from __future__ import annotations

from array import array

from benchmarks.clients import Tally
from benchmarks.load import FILES, MEMORY_KIB, Report, Sample, run


def test_some_seconds_of_many_clients_break_nothing() -> None:
    report = run(4, 20, idle=200, pause_s=0.05)

    # Too short a time for the memory to be at rest.
    assert [what for what in report.judge() if "memory" not in what] == []
    assert report.tally.took["StartSession"]
    assert report.tally.took["TerminateSession"]


def test_what_is_wrong_is_found() -> None:
    def report(*samples: Sample, after: int = 20) -> Report:
        tally = Tally()
        tally.took["GetSession"] = array("d", [0.001])
        return Report(1, 0, 1, tally, list(samples), before=20, after=after)

    steady = [Sample(100_000, 30)] * 8
    assert report(*steady).judge() == []
    assert "memory grew" in report(*steady, *[Sample(100_001 + MEMORY_KIB, 30)] * 4).judge()[0]
    assert "open files grew" in report(*steady, *[Sample(100_000, 31 + FILES)] * 4).judge()[0]
    assert "at the end" in report(*steady, after=21 + FILES).judge()[0]
    errors = report(*steady)
    errors.tally.wrong["GetSession: 500 InternalServerException"] += 1
    assert errors.judge() == ["GetSession: 500 InternalServerException: 1 times"]
