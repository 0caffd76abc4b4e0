"""The class-data archive: made once, found by the next start, and accepted by the JVM."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.agent.conftest import Start


def ask(module: str, **asked: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", f"sparkowl.agent.{module}"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=110,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.spark
@pytest.mark.timeout(300)  # two runs of a JVM at the lowest priority
def test_an_archive_is_made_once_and_used(start: Start, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    asked = {"cache_dir": str(cache), "java_home": None}
    makers = [
        subprocess.Popen(
            [sys.executable, "-m", "sparkowl.agent.archive"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write(json.dumps(asked))
        maker.stdin.close()
        maker.stdin = None
    answers = [json.loads(maker.communicate(timeout=240)[0]) for maker in makers]
    assert sorted(answer["new"] for answer in answers) == [False, True]
    (made,) = cache.glob("*.jsa")
    assert {answer["path"] for answer in answers} == {str(made)}
    assert sorted(p.suffix for p in cache.iterdir()) == [".jsa", ".lock"]

    entry = ask("doctor", **asked)["archive"]
    assert (entry["status"], entry["path"]) == ("present", str(made))
    assert entry["size_bytes"] == made.stat().st_size

    driver = start(cache_dir=str(cache))
    assert driver.ready().archive == "used"
    driver.stop()

    made.chmod(0o600)
    made.write_bytes(b"not an archive")
    driver = start(cache_dir=str(cache))
    assert driver.ready().archive == "rejected"
    assert driver.run("spark.range(3).count()").value == "3"
    driver.stop()


def test_the_doctor_says_what_there_is(tmp_path: Path) -> None:
    found = ask("doctor", cache_dir=str(tmp_path))
    assert found["java"]["version"].split(".")[0] in ("17", "21")
    assert found["spark"]["version"].startswith("4.")
    assert found["archive"]["status"] == "missing"
    assert found["isolation"]["in_force"].startswith(("landlock v", "none: "))


def test_the_doctor_says_what_is_missing(tmp_path: Path) -> None:
    found = ask("doctor", cache_dir=str(tmp_path), java_home=str(tmp_path))
    assert "is no Java" in found["java"]["problem"]
    assert found["archive"]["status"] == "unknown"
    assert "is no Java" in ask("archive", cache_dir=str(tmp_path), java_home=str(tmp_path))["error"]
