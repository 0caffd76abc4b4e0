"""The packages of a workgroup's requirements file, in real sessions."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.e2e.conftest import GONE, Server, User, running
from tests.wheels import wheel

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

#: In the environment of every server, and in no kernel when it begins.
HARMLESS: Final = "jmespath"
OTHER: Final = "other"


class Files:
    """The wheels, and a requirements file for each workgroup."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels = folder / "wheels"
        wheel(self.wheels, "owl_one", requires=["owl-two"])
        wheel(self.wheels, "owl_two")
        wheel(self.wheels, "owl_two", "2.0")
        wheel(self.wheels, HARMLESS, "99.0", modules={f"{HARMLESS}/__init__": "V = 'ours'\n"})

    def of(self, work_group: str) -> Path:
        return self.folder / f"{work_group}.txt"

    def write(self, work_group: str, *lines: str) -> None:
        content = ["--no-index", f"--find-links {self.wheels}", *lines, ""]
        self.of(work_group).write_text("\n".join(content))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def server(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("packages")
    asked = {name: {"requirements": str(files.of(name))} for name in ("spark", OTHER)}
    # User code may write under /tmp, but for what is the server's.
    cache = str(folder / "data" / "cache")
    with running(folder, WORKGROUPS=json.dumps(asked), CACHE_DIR=cache, POOL__SIZE="1") as started:
        yield started


@pytest.fixture(scope="module")
def user(server: Server) -> User:
    made = User(server.client("athena"), server.client("s3"))
    made.athena.create_work_group(
        Name=OTHER,
        Configuration={
            "EngineVersion": {"SelectedEngineVersion": "PySpark engine version 3"},
            "ExecutionRole": "arn:aws:iam::000000000000:role/other",
        },
    )
    return made


def said(user: User, session: str, code: str) -> str:
    found, stdout, stderr = user.run(session, code)
    assert found["Status"]["State"] == "COMPLETED", (found["Status"], stderr)
    return stdout


def packages(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``sparkowl packages`` with the server's settings."""
    environment = os.environ | {f"SPARKOWL_{k}": v for k, v in server.settings.items()}
    return server.command("packages", *arguments, env=environment)


#: What driver, workers and programs that are started find.
LOOK: Final = f"""
import subprocess, sys
from pyspark.sql.functions import udf

@udf("string")
def there(_):
    import owl_one, owl_two, {HARMLESS}
    return f"{{owl_one.V}} {{owl_two.V}} {{{HARMLESS}.V}}"

import owl_one, owl_two, {HARMLESS}
print(owl_one.V, owl_two.V, {HARMLESS}.V)
print(spark.range(1).select(there("id")).head()[0])
sys.stdout.flush()
code = "import owl_two; print(owl_two.V)"
print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip())
"""


def listed(server: Server) -> set[str]:
    """The keys of the packages that are there."""
    rows = packages(server, "list").stdout.splitlines()[1:]
    return {key for key in (row.split()[0] for row in rows) if len(key) == len(uuid.uuid4().hex)}


def test_driver_workers_and_programs_have_what_the_file_names(
    user: User, files: Files, server: Server
) -> None:
    others = listed(server)
    files.write("spark", "owl-one", "owl-two<2", HARMLESS)

    session = user.session()

    assert said(user, session, LOOK) == "1.0 1.0 ours\n1.0 1.0 ours\n1.0\n"
    files.write("spark", "owl-one", "owl-two", HARMLESS)
    newer = user.session()
    assert said(user, newer, LOOK) == "1.0 2.0 ours\n1.0 2.0 ours\n2.0\n"
    assert said(user, session, "import importlib; print(importlib.reload(owl_two).V)") == "1.0\n"
    packages(server, "prune")
    assert len(listed(server) - others) == 2, "both have their session"
    user.end(session)
    packages(server, "prune")
    assert len(listed(server) - others) == 1
    assert said(user, newer, LOOK) == "1.0 2.0 ours\n1.0 2.0 ours\n2.0\n"
    user.end(newer)


def test_user_code_cannot_change_what_others_import(user: User, files: Files) -> None:
    files.write("spark", "owl-two")
    session = user.session()

    stdout = said(
        user,
        session,
        """
import owl_two, os
def tell(act):
    try:
        act()
    except OSError as error:
        print(type(error).__name__)
tell(lambda: open(owl_two.__file__, "a"))
tell(lambda: os.remove(owl_two.__file__))
tell(lambda: open(os.path.join(os.path.dirname(owl_two.__file__), "evil.py"), "w"))
tell(lambda: os.rename(owl_two.__file__, "mine.py"))
""",
    )

    assert stdout.split() == ["PermissionError"] * 4
    user.end(session)


def test_pip_says_where_packages_come_from(user: User, files: Files) -> None:
    files.write("spark", "owl-two")
    session = user.session()

    for code in ("%pip install owl-one", "!pip install owl-one"):
        found, _, stderr = user.run(session, code)
        assert found["Status"]["State"] == "FAILED"
        assert "those of its requirements file" in stderr
    user.end(session)


def test_nothing_is_loaded_in_a_kernel_that_a_file_could_replace(
    user: User, files: Files, server: Server
) -> None:
    files.write("spark", "owl-two")
    session = user.session()

    loaded = said(
        user,
        session,
        """
import sys
from importlib.metadata import packages_distributions
of = packages_distributions()
tops = {name.partition(".")[0] for name in list(sys.modules)}
print(*sorted({dist for top in tops for dist in of.get(top, ())}), sep="\\n")
""",
    )

    held = {line.partition("==")[0] for line in packages(server, "held").stdout.split()}
    assert "pandas" in held
    names = {name.lower().replace("_", "-").replace(".", "-") for name in loaded.split()}
    # Where Python's venv brings setuptools, a .pth file of its loads a shim of it in every Python.
    assert names - held <= {"sparkowl", "setuptools"}
    user.end(session)


def test_a_file_that_cannot_be_had_is_the_reason_of_its_sessions_only(
    user: User, files: Files
) -> None:
    files.write("spark", "owl-two")
    files.write(OTHER, "owl-one")

    failed, good = user.start_session(WorkGroup=OTHER), user.session()

    status = user.await_session(failed, GONE)
    assert status["State"] == "FAILED"
    assert status["StateChangeReason"].startswith(
        "Session failed to start [USER] The packages of its workgroup: "
        f"{files.of(OTHER)}: owl-one needs owl-two, which is not in the file. "
    )
    files.of(OTHER).unlink()
    failed = user.start_session(WorkGroup=OTHER)
    reason = user.await_session(failed, GONE)["StateChangeReason"]
    assert f"workgroup: there is no {files.of(OTHER)}. " in reason
    user.end(good)


def test_an_operator_builds_ahead(user: User, files: Files, server: Server) -> None:
    files.write(OTHER, "owl-one", "owl-two==2.0")

    built = packages(server, "build", OTHER)

    assert built.returncode == 0, built.stderr
    folder = built.stdout.rpartition(": ")[2].strip()
    assert (Path(folder) / "owl_two.py").is_file()
    session = user.session(WorkGroup=OTHER)
    assert said(user, session, "import owl_two; print(owl_two.V)") == "2.0\n"
    user.end(session)
    files.write(OTHER, "owl-three")
    refused = packages(server, "build", OTHER)
    assert refused.returncode == 1
    assert "pip finds no owl-three for this Python" in " ".join(refused.stderr.split())
