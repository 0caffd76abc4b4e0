"""Building what a requirements file names: pip is real, the index is a folder of tiny wheels."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.proc import children_of
from tests.wheels import sha256, wheel

from sparkowl.launchers import packages
from sparkowl.launchers.packages import MANIFEST, PipPackages
from sparkowl.launchers.requirements import PackagesError

ENGINE = "PySpark engine version 3"


class Place:
    """A requirements file, the wheels it may name, and the cache."""

    def __init__(self, folder: Path) -> None:
        self.wheels = folder / "wheels"
        self.file = folder / "requirements.txt"
        self.shelf = folder / "cache" / "packages"
        wheel(self.wheels, "owl_one", requires=["owl-two>=1"])
        wheel(self.wheels, "owl_two")
        wheel(self.wheels, "owl_two", "2.0")

    def write(self, *lines: str) -> None:
        self.file.write_text("\n".join(["--no-index", "--find-links wheels", *lines, ""]))

    @asynccontextmanager
    async def server(self, limit_s: float = 100) -> AsyncIterator[PipPackages]:
        made = PipPackages(self.shelf, {"g": self.file}, {}, limit_s=limit_s)
        try:
            yield made
        finally:
            await made.close()

    async def provide(self) -> Path:
        async with self.server() as made:
            return await made.provide("g", ENGINE)

    async def refusal(self, left: int = 0) -> str:
        """What is said to whoever waited; nothing is left of the attempt, but earlier builds."""
        with pytest.raises(PackagesError) as error:
            await self.provide()
        assert len(self.left()) == left
        return str(error.value).removeprefix(f"{self.file}: ")

    def left(self) -> list[str]:
        return sorted(entry.name for entry in self.shelf.glob("*"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def python(folder: Path, code: str) -> str:
    """What a Python prints that has the packages on its path."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


async def test_what_the_file_names_is_installed_and_nothing_else(place: Place) -> None:
    place.write("owl-one  # the first", "owl_two==1.0; python_version > '3'", "owl-x; extra == 'y'")

    folder = await place.provide()

    code = "import owl_one, owl_two; print(owl_one.V, owl_two.V)"
    assert python(folder, code) == "1.0 1.0\n"
    assert place.left() == [folder.parent.name], "no lock, nothing half made"
    (kept,) = packages.kept(place.shelf)
    assert (kept.requirements, kept.names) == (str(place.file), ["owl_one 1.0", "owl_two 1.0"])


async def test_anybody_may_read_what_is_built(place: Place) -> None:
    place.write("owl-two")
    before = os.umask(0o077)
    try:
        folder = await place.provide()
    finally:
        os.umask(before)

    for entry in (place.shelf, folder.parent, *folder.rglob("*")):
        assert entry.stat().st_mode & 0o444 == 0o444, entry
        assert entry.stat().st_mode & 0o022 == 0, entry


async def test_a_package_from_an_address_is_a_wheel_or_one_that_may_be_built(
    place: Place, tmp_path: Path
) -> None:
    source = tmp_path / "owl-two"
    source.mkdir()
    address = f"owl.two @ {source.as_uri()}"
    place.write(f"owl-two @ {(place.wheels / 'owl_two-1.0-py3-none-any.whl').as_uri()}")
    assert python(await place.provide(), "import owl_two; print(owl_two.V)") == "1.0\n"

    place.write(address)
    assert "that is no wheel" in await place.refusal(left=1)
    place.write("--pre --no-binary=x,Owl_Two", address)
    # It is let through to pip, which finds nothing to build.
    assert "does not appear to be a Python project" in await place.refusal(left=1)


async def test_nothing_passes_through_the_folder_that_user_code_may_write_to(
    place: Place, tmp_path: Path
) -> None:
    shared = tmp_path / "everybodys"
    shared.mkdir()
    untouched = shared.stat().st_mtime_ns
    place.write("owl-two")
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(shared)
    try:
        built = (await place.provide()).parent
    finally:
        del os.environ["TMPDIR"]
        if before is not None:
            os.environ["TMPDIR"] = before

    assert shared.stat().st_mtime_ns == untouched
    assert sorted(entry.name for entry in built.iterdir()) == [MANIFEST, "site"]


async def test_an_indexs_password_is_not_left_where_sessions_read(place: Place) -> None:
    place.write("--extra-index-url https://me:canary-8c1f@host/simple", "owl-two")

    built = (await place.provide()).parent

    texts = [file.read_bytes() for file in built.rglob("*") if file.is_file()]
    assert texts
    assert not any(b"canary" in text for text in texts)


async def test_it_is_built_once_and_again_when_the_file_changes(place: Place) -> None:
    place.write("owl-two==1.0")
    first = await place.provide()
    made_at = (first.parent / MANIFEST).stat().st_mtime_ns

    assert await place.provide() == first
    assert (first.parent / MANIFEST).stat().st_mtime_ns == made_at

    place.write("owl-two==2.0")
    second = await place.provide()
    assert second != first
    assert python(second, "import owl_two; print(owl_two.V)") == "2.0\n"
    assert first.is_dir(), "sessions may have it"


async def test_many_that_ask_at_once_wait_for_one_build(place: Place) -> None:
    """Two servers that share a cache, with two sessions each."""
    place.write("owl-two")

    async with place.server() as one, place.server() as other:
        asked = [made.provide("g", ENGINE) for made in (one, one, other, other)]
        folders = await asyncio.gather(*asked)

    assert len(set(folders)) == 1
    assert place.left() == [folders[0].parent.name]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["owl-one"], "owl-one needs owl-two>=1, which is not in the file"),
        (["owl-three"], "pip finds no owl-three for this Python, as a wheel (a package that is to "
                        "be built here needs a line --no-binary NAME)"),
        (["owl-two==3.0"], "pip finds no owl-two==3.0 for this Python, as a wheel (a package that "
                           "is to be built here needs a line --no-binary NAME)"),
        (["owl-old", "owl-two==2.0"], "owl-old needs owl-two<2, and here it is 2.0"),
        (["owl-extra[more]"], "owl-extra needs owl-two, which is not in the file"),
        (["owl-enum"], "its module enum would hide the one of Python itself"),
        (["owl-spark"], "its module pyspark would hide the one of pyspark"),
        (["owl-server"], "its module sparkowl would hide the one of sparkowl"),
        (["pandas==0.1"], "pandas ==0.1: drivers themselves run on pandas "),
        (["sparkowl"], "sparkowl is the server's own"),
        (["owl two"], "owl two: a requirement begins with the package's name, as in "
                      "name @ https://..."),
        (["owl-two=1"], "owl-two=1: Expected semicolon"),
        (["./wheels/owl_two-1.0-py3-none-any.whl"], "./wheels/owl_two-1.0-py3-none-any.whl: a "
                                                    "requirement begins with the package's name"),
        (["-e ."], "-e .: the file must name every package itself; -e is not allowed"),
        (["-r more.txt"], "-r more.txt: the file must name every package itself; -r is not"),
        (["-c more.txt"], "-c more.txt: the file must name every package itself; -c is not"),
        (["--pre -r more.txt"], "--pre -r more.txt: the file must name every package itself; -r"),
        (["owl-two @ https://host/owl_two-1.0.tar.gz#sha256=1"],
         "owl-two @ https://host/owl_two-1.0.tar.gz#sha256=1: that is no wheel; a line --no-binary "
         "owl-two lets its code run here"),
        (["owl-two@git+https://host/owl"], "owl-two@git+https://host/owl: that is no wheel"),
        (["--editable=."], "--editable=.: the file must name every package itself; --editable"),
        (["owl-two --config-settings x=y"], "owl-two --config-settings x=y: behind a requirement "
                                            "only --hash may stand"),
        (["owl-two --hash=sha256:" + "0" * 64], "In --require-hashes mode, all requirements must "
                                                "have their versions pinned with ==. These do not: "
                                                "owl-two from "),
        (["owl-two --hash=nonsense"], "Invalid requirement: owl-two --hash=nonsense"),
    ],
)  # fmt: skip
async def test_what_cannot_be_had_is_refused_in_a_sentence(
    place: Place, lines: list[str], why: str
) -> None:
    wheel(place.wheels, "owl_old", requires=["owl-two<2"])
    wheel(place.wheels, "owl_extra", requires=["owl-two; extra == 'more'"], extras=["more"])
    wheel(place.wheels, "owl_enum", modules={"enum": ""})
    wheel(place.wheels, "owl_spark", modules={"pyspark/__init__": ""})
    wheel(place.wheels, "owl_server", modules={"sparkowl": ""})
    place.write(*lines)

    said = await place.refusal()

    assert said.startswith(why)
    assert "\n" not in said


async def test_every_missing_name_is_told_at_once(place: Place) -> None:
    wheel(place.wheels, "owl_much", requires=[f"need-{n:02}" for n in range(14)])
    place.write("owl-much")

    said = await place.refusal()

    assert said.count("which is not in the file") == 10
    assert said.endswith("; and 4 more")


async def test_what_the_environment_has_need_not_be_in_the_file(place: Place) -> None:
    wheel(place.wheels, "owl_frame", requires=["pandas>=1", "numpy", "owl-no; extra == 'no'"])
    place.write("owl-frame", "pandas")

    folder = await place.provide()

    assert not (folder / "pandas").exists(), "what drivers run on is not installed a second time"


async def test_a_file_of_nothing_new_needs_no_pip(place: Place) -> None:
    place.write("# pandas is there", "pandas")

    assert list((await place.provide()).iterdir()) == []


async def test_hashes_are_honoured(place: Place) -> None:
    one, two = place.wheels / "owl_one-1.0-py3-none-any.whl", wheel(place.wheels, "owl_two", "3.0")
    place.write(f"owl-one==1.0 {sha256(one)}", f"owl-two==3.0 \\\n    {sha256(two)}")
    folder = await place.provide()
    assert python(folder, "import owl_two; print(owl_two.V)") == "3.0\n"

    two.write_bytes(two.read_bytes() + b"x")
    place.write(
        "# again", f"owl-one==1.0 {sha256(one)}", f"owl-two==3.0 {'--hash=sha256:' + '0' * 64}"
    )
    with pytest.raises(PackagesError, match="has another hash than the file says"):
        await place.provide()


async def test_one_hash_wants_them_all(place: Place) -> None:
    two = place.wheels / "owl_two-1.0-py3-none-any.whl"
    place.write("owl-one==1.0", f"owl-two==1.0 {sha256(two)}")

    assert "hash" in await place.refusal()


async def test_an_index_that_cannot_be_reached_is_called_that(place: Place) -> None:
    place.file.write_text("--index-url http://127.0.0.1:9/simple\nowl-two\n")

    said = await place.refusal()

    assert said == "the package index cannot be reached for owl-two (NewConnectionError)"


async def test_a_file_that_is_not_there(place: Place) -> None:
    with pytest.raises(PackagesError) as error:
        await place.provide()

    assert str(error.value) == f"there is no {place.file}"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"#" * (1 << 20) + b"\n"])
async def test_a_file_that_is_none(place: Place, content: bytes) -> None:
    place.file.write_bytes(content)

    assert str(place.file) in f"{place.file}: {await place.refusal()}"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of a place that was built once, to be copied: pip takes its seconds."""
    place = Place(tmp_path_factory.mktemp("built"))
    place.write("owl-two==1.0")
    asyncio.run(place.provide())
    return place.shelf


@pytest.fixture
def built(place: Place, shelf: Path) -> Path:
    """The folder with the packages of the place."""
    place.write("owl-two==1.0")
    shutil.copytree(shelf, place.shelf)
    (manifest,) = place.shelf.glob(f"*/{MANIFEST}")
    return manifest.parent / "site"


def changed(file: Path) -> None:
    file.write_text("V = 'evil'\n")


def same_size(file: Path) -> None:
    """Other bytes, as many as before."""
    text = file.read_text()
    file.write_text(text.replace("1", "9"))


def linked(file: Path) -> None:
    content = file.rename(file.with_suffix(".txt"))
    file.symlink_to(content)


@pytest.mark.parametrize(
    "damage",
    [
        changed,
        same_size,
        linked,
        Path.unlink,
        lambda file: (file.parent / "further.py").write_text(""),
        lambda file: (file.parent.parent / MANIFEST).write_text("{"),
        lambda file: (file.parent.parent / MANIFEST).write_text("{}"),
    ],
)
async def test_what_was_changed_since_is_built_again(
    place: Place,
    built: Path,
    damage: Callable[[Path], object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(built / "owl_two.py")

    assert await place.provide() == built

    assert python(built, "import owl_two; print(owl_two.V)") == "1.0\n"
    assert not (built / "further.py").exists()
    assert "packages are not what was installed" in caplog.text


async def test_a_listing_that_was_changed_with_the_files_is_noticed(
    place: Place, built: Path
) -> None:
    changed(built / "owl_two.py")
    entry = (built / "owl_two.py").stat()
    manifest = built.parent / MANIFEST
    told = json.loads(manifest.read_text())
    told["files"]["owl_two.py"] = [entry.st_size, entry.st_mtime_ns, "0" * 64]
    manifest.write_text(json.dumps(told))

    await place.provide()

    assert python(built, "import owl_two; print(owl_two.V)") == "1.0\n"


async def test_a_file_that_was_only_touched_is_still_good(place: Place, built: Path) -> None:
    os.utime(built / "owl_two.py", ns=(1, 1))
    made_at = (built.parent / MANIFEST).stat().st_mtime_ns

    await place.provide()

    assert (built.parent / MANIFEST).stat().st_mtime_ns == made_at


#: Builds, and is killed in the middle of it by its own wheel's folder: a pipe that nobody fills.
_SERVER = """
import asyncio, sys
from pathlib import Path
from sparkowl.launchers.packages import PipPackages
shelf, file = map(Path, sys.argv[1:])
asyncio.run(PipPackages(shelf, {"g": file}, {}, limit_s=100).provide("g", "x"))
"""


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


async def test_a_server_that_is_killed_in_the_middle_leaves_nothing_that_counts(
    place: Place,
) -> None:
    place.write("owl-two")
    pipe = place.wheels / "owl_two-9.0-py3-none-any.whl"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(place.shelf), str(place.file)], start_new_session=True
    )
    try:
        await until(lambda: list(place.shelf.glob(".*")))
        children = children_of(process.pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert list(packages.kept(place.shelf)) == []
    assert len(place.left()) == 2, "what it was at, and its lock"
    for child in children:
        os.kill(child, signal.SIGKILL)
    pipe.unlink()

    folder = await place.provide()

    assert place.left() == [folder.parent.name]


async def test_a_build_that_takes_too_long_is_ended_with_all_its_processes(place: Place) -> None:
    place.write("owl-two")
    os.mkfifo(place.wheels / "owl_two-9.0-py3-none-any.whl")
    before = set(children_of(os.getpid()))

    async with place.server(limit_s=3) as made:
        with pytest.raises(PackagesError, match="its packages were not there after 3 s"):
            await made.provide("g", ENGINE)

    assert set(children_of(os.getpid())) <= before
    assert place.left() == []


async def test_who_waits_for_another_ones_build_waits_as_long(place: Place) -> None:
    place.write("owl-two")
    os.mkfifo(place.wheels / "owl_two-9.0-py3-none-any.whl")

    async with place.server() as slow, place.server(limit_s=1) as other:
        building = asyncio.create_task(slow.provide("g", ENGINE))
        await until(lambda: list(place.shelf.glob(".*")))
        with pytest.raises(PackagesError, match="not there after 1 s"):
            await other.provide("g", ENGINE)
        await slow.close()
        with pytest.raises(asyncio.CancelledError):
            await building

    assert place.left() == []


async def test_pruning_spares_what_is_named_and_what_is_being_built(place: Place) -> None:
    place.write("owl-two==1.0")
    first = (await place.provide()).parent
    place.write("owl-two==2.0")
    second = (await place.provide()).parent
    (place.shelf / ".0123.left").mkdir()
    place.write("owl-two")
    os.mkfifo(place.wheels / "owl_two-9.0-py3-none-any.whl")

    async with place.server() as made:
        building = asyncio.create_task(made.provide("g", ENGINE))
        await until(lambda: list(place.shelf.glob("*.lock")))
        await until(lambda: len(list(place.shelf.glob(".*"))) == 2)
        gone = packages.prune(place.shelf, frozenset({second.name}))
        assert {entry.name for entry in gone} == {first.name, ".0123.left"}
        assert len(list(place.shelf.glob(".*"))) == 1
        building.cancel()

    assert place.left() == [second.name]
    assert packages.prune(place.shelf / "none", frozenset()) == []
