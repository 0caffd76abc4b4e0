"""The environments that engines run in: registering, forgetting and clearing them.

An environment is new with every registration, in the engine's folder; how one is made is
:mod:`.installing`'s.
"""

from __future__ import annotations

import fcntl
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparkowl.launchers import engines
from sparkowl.launchers.engines import EngineError, Environment
from sparkowl.launchers.installing import Say, Wanted, doctor, make, refuse
from sparkowl.launchers.processes import PROC


def add(data_dir: Path, wanted: Wanted, say: Say = lambda _: None) -> Environment:
    """Make, check and register an environment; :class:`EngineError` leaves all as it was.

    A running server goes on with what it found at its start.
    """
    refuse(wanted)
    with changing(data_dir):
        return prepare(engines.folder_of(data_dir, wanted.name), wanted, say)


def prepare(folder: Path, wanted: Wanted, say: Say) -> Environment:
    """Make a new environment in an engine's folder, and let ``engine.json`` name it."""
    folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder.mkdir(mode=0o755, exist_ok=True)
    root = folder / f"{wanted.pyspark or 'linked'}-{secrets.token_hex(4)}"
    try:
        made = make(root, wanted, say)
        engines.write(folder, made)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        if not any(folder.iterdir()):
            folder.rmdir()
        raise
    return made


def of_setting(data_dir: Path, wanted: Wanted, say: Say) -> Environment:
    """The environment of an interpreter that the settings name: checked once for each Spark in it.

    :class:`EngineError` when it cannot run the engine.
    """
    assert wanted.python is not None
    folder = engines.of_setting(data_dir, wanted.name)
    known = engines.read(folder)
    if known is not None and known.source == str(wanted.python) and Path(known.python).exists():
        spark = doctor(Path(known.python), wanted)["spark"]
        if spark["version"] == known.spark_version:
            return known
    with changing(data_dir):
        return prepare(folder, wanted, say)


def remove(data_dir: Path, name: str) -> None:
    """Forget an engine's environment; :class:`EngineError` when there is none."""
    folder = engines.folder_of(data_dir, name)
    with changing(data_dir):
        if engines.read(folder) is None:
            raise EngineError(f'No environment is registered for "{name}".')
        (folder / "engine.json").unlink()


def clear_unused(data_dir: Path) -> None:
    """Delete environments that nothing names and no process runs from.

    Not while one is being made; then the next start does it.
    """
    try:
        with changing(data_dir):
            for folder in (data_dir / "engines").glob("*/"):
                named = engines.read(folder)
                for root in folder.glob("*/"):
                    if (named is None or named.folder != root) and not _in_use(root):
                        shutil.rmtree(root, ignore_errors=True)
                if not any(folder.iterdir()):
                    folder.rmdir()
    except EngineError:
        return


@contextmanager
def changing(data_dir: Path) -> Iterator[None]:
    """Held by whoever makes or removes environments."""
    root = data_dir / "engines"
    try:
        # As the server makes it.
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.mkdir(mode=0o755, exist_ok=True)
        lock = (root / ".lock").open("w")
    except OSError as error:
        raise EngineError(f"{root} cannot be used: {error}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EngineError(f"Another command is changing the engines of {data_dir}.") from error
        yield


def _in_use(root: Path) -> bool:
    """Whether a process runs from an environment: drivers of a server that left them running."""
    begins = f"{root}/".encode()
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(begins):
                return True
    return False
