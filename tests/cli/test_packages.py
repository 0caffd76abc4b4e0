"""`sparkowl packages` on settings and a cache, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.commands import command
from tests.wheels import wheel


class Operator:
    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.data_dir.mkdir()
        self.file = folder / "science.txt"
        (self.data_dir / "sparkowl.toml").write_text(
            f"cache_dir = '{folder}/cache'\n"
            f"[workgroups.science]\nrequirements = '{self.file}'\n"
            f"[workgroups.later]\nrequirements = '{folder}/later.txt'\n"
        )
        self.wheels = folder / "wheels"
        wheel(self.wheels, "owl_one", requires=["owl-two"])
        wheel(self.wheels, "owl_two")

    def write(self, *lines: str) -> None:
        self.file.write_text("\n".join(["--no-index", f"-f {self.wheels}", *lines, ""]))

    def run(self, *arguments: str) -> tuple[str, str, int]:
        done = command("packages", *arguments, "--data-dir", str(self.data_dir))
        return done.stdout, done.stderr, done.returncode

    def built(self) -> Path:
        """The folder with the packages of the file, as it is now."""
        stdout, stderr, status = self.run("build", "science")
        assert status == 0, stderr
        engines, _, folder = stdout.strip().rpartition(": ")
        assert "PySpark engine version 3" in engines
        return Path(folder)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


def test_what_is_built_is_listed_until_no_file_leads_to_it(operator: Operator) -> None:
    operator.write("owl-two")
    old = operator.built()
    operator.write("owl-one", "owl-two")
    new = operator.built()
    assert (new / "owl_one.py").is_file()

    stdout, _, _ = operator.run("list")
    assert stdout.count(str(operator.file)) == 2
    assert stdout.count("    owl_two 1.0\n") == 2

    stdout, stderr, status = operator.run("prune")
    assert (stdout, status) == (f"deleted {old.parent.name}\n", 0)
    assert "later: there is no" in stderr
    assert new.is_dir()
    assert not old.exists()


def test_pruning_spares_what_a_driver_has(operator: Operator) -> None:
    operator.write("owl-two")
    used = operator.built()
    driver = operator.data_dir / "drivers" / "d"
    driver.mkdir(parents=True)
    (driver / "packages").symlink_to(used)
    operator.file.unlink()

    assert operator.run("prune")[0] == ""

    (driver / "packages").unlink()
    assert operator.run("prune")[0] == f"deleted {used.parent.name}\n"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["science"], "science.txt: owl-one needs owl-two, which is not in the file."),
        (["later"], "later.txt."),
        (["art"], 'Workgroup "art" has no requirements file. Name one in the settings: '
                  "[workgroups.art] requirements."),
        (["science", "--engine", "Spark"], 'There is no engine "Spark".'),
    ],
)  # fmt: skip
def test_a_build_that_fails_says_why(operator: Operator, arguments: list[str], why: str) -> None:
    operator.write("owl-one")

    stdout, stderr, status = operator.run("build", *arguments)

    assert (stdout, status) == ("", 1)
    assert why in stderr
    assert "Traceback" not in stderr


def test_what_drivers_run_on_is_printed_as_constraints(operator: Operator) -> None:
    stdout, _, _ = operator.run("held")

    names = {line.partition("==")[0] for line in stdout.splitlines()}
    assert {"pandas", "pyspark", "py4j", "ipykernel", "traitlets"} <= names
    assert names.isdisjoint({"boto3", "sqlalchemy", "sparkowl"})
