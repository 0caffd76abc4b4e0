"""Starting a driver's two processes, as soon as the agent's own process exists.

Kept apart from :mod:`.driver`, and free of heavy imports: the JVM is what a start waits for, so
nothing may come before it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparkowl.agent import aws, confine, java, jvm
from sparkowl.agent.folder import Folder
from sparkowl.agent.messages import Confinement, DriverSpec
from sparkowl.agent.processes import joining, spawn


class DriverLost(Exception):
    """The kernel or the JVM is gone, or never came up; the message is a sentence for the user."""

    def __init__(self, reason: str, code: str = "CRASH") -> None:
        super().__init__(reason)
        #: As in :class:`~sparkowl.agent.messages.Failed`.
        self.code = code


@dataclass(frozen=True, slots=True)
class Launched:
    """Both processes, just started."""

    kernel: subprocess.Popen[bytes]
    jvm: subprocess.Popen[bytes]
    #: Reading end of the pipe for the kernel's one line.
    report: int
    archive: Path | None
    isolation: str
    #: When the agent's process began, seconds since the epoch.
    at: float


def launch(spec: DriverSpec, started_at: float) -> Launched:
    """Start the JVM and the kernel; :class:`DriverLost` when that is not possible."""
    folder = Folder(Path(spec.run_dir))
    try:
        home = jvm.spark_home()
        found = java.find(spec.java_home, os.environ, jvm.spark_version(home))
        file = jvm.archive_file(Path(spec.cache_dir), found, home)
        shared = file if file.is_file() else None
        sandbox = confine.prepare(_complete(spec, folder, found), spec.run_as)
        enter = _entering(spec, sandbox)
        machine = jvm.start(spec, found, shared, enter)
        kernel, report = _start_kernel(spec, folder, found, enter)
    except (java.JavaNotFound, OSError, subprocess.SubprocessError) as error:
        raise DriverLost(f"The driver could not be started: {error}", "SERVER") from error
    sandbox.close()
    return Launched(kernel, machine, report, shared, sandbox.isolation, started_at)


def _entering(spec: DriverSpec, sandbox: confine.Sandbox) -> Callable[[], None]:
    join = joining(spec.control_group)
    # Made here: a child would take itself for the agent that gets no signals.
    confine_child = sandbox.enter

    def enter() -> None:
        # Before the sandbox, which lets nobody write there.
        join()
        confine_child()

    return enter


def launch_jupyter(
    spec: DriverSpec, command: Sequence[str], descriptor: int
) -> subprocess.Popen[bytes]:
    """Start the Jupyter process, with its end of the desk; OSError when that is not possible.

    It is confined by itself: of the driver it sees the kernel's sockets, and writes nothing but its
    own folder, which user code does not see. Its user is user code's, and nobody else's umask
    applies: only that user and root, who is the server then, can open its socket.
    """
    folder = Folder(Path(spec.run_dir))
    folder.make_jupyter(spec.run_as)
    asked = spec.confinement
    domain = asked and Confinement(
        hidden=asked.hidden,
        readable=(str(folder.kernel), *_programs(asked)),
        writable=(str(folder.jupyter),),
    )
    sandbox = confine.prepare(domain, spec.run_as)
    try:
        return spawn(
            [*command, str(descriptor)],
            env=jvm.inherited(os.environ)
            | {"HOME": str(folder.jupyter), "TMPDIR": str(folder.jupyter)},
            cwd=folder.jupyter,
            log=folder.jupyter_log,
            confine=_entering(spec, sandbox),
            umask=0o077,
            pass_fds=(descriptor,),
        )
    finally:
        sandbox.close()


def _complete(spec: DriverSpec, folder: Folder, found: java.Java) -> Confinement | None:
    """The confinement, with what a driver needs in any case: its own folders and its programs.

    A program's folder that *holds* something hidden is left out: it must not uncover that.
    """
    asked = spec.confinement
    if asked is None:
        return None
    programs = _programs(asked, str(found.home), str(jvm.spark_home()))
    # Of the driver's own folder only parts are the user's, whoever named the whole of it.
    root = os.path.realpath(folder.root)
    writable = [path for path in asked.writable if os.path.realpath(path) != root]
    return Confinement(
        hidden=asked.hidden,
        readable=(*asked.readable, spec.cache_dir, *folder.readable, *programs),
        writable=(*writable, *folder.writable),
    )


def _programs(asked: Confinement, *further: str) -> list[str]:
    """The folders of our Python and its packages, and the ``further`` ones, as far as they hold
    nothing hidden."""
    hidden = [Path(os.path.realpath(path)) for path in asked.hidden]
    code = {sys.prefix, sys.base_prefix, *further}
    code.add(str(Path(__file__).parent.parent))
    # An environment that an operator registered may borrow the packages of another one.
    code |= {path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")}
    needed = {os.path.realpath(path) for path in code}
    unhiding = {p for p in needed if any(h.is_relative_to(p) for h in hidden)}
    return sorted(needed - unhiding)


def _start_kernel(
    spec: DriverSpec, folder: Folder, found: java.Java, enter: Callable[[], None]
) -> tuple[subprocess.Popen[bytes], int]:
    reading, writing = os.pipe()
    module = ["-P", "-m", "sparkowl.agent.kernel", str(writing), str(spec.output_limit_bytes)]
    try:
        kernel = spawn(
            [sys.executable, *module, *(["--warm"] if spec.warm else [])],
            env=aws.environment(spec)
            | dict(spec.environment)
            | jvm.environment(folder, jvm.spark_home(), os.environ)
            | {
                "JAVA_HOME": str(found.home),
                "IPYTHONDIR": str(folder.tmp / "ipython"),
                "MPLCONFIGDIR": str(folder.tmp / "matplotlib"),
                "PYTHONUNBUFFERED": "1",
            },
            cwd=folder.root,
            log=folder.kernel_log,
            confine=enter,
            umask=spec.umask,
            pass_fds=(writing,),
        )
    finally:
        os.close(writing)
    return kernel, reading
