"""The Spark JVM: its command line, its properties file, and its start.

The JVM is started directly, not through Spark's scripts: those start a second JVM to work out the
command line of the first, and ask for a module that small Java runtimes do not have. Which Java
is :mod:`.java`'s question; the class-data archive is made by :mod:`.archive`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shlex
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sparkowl.agent import aws, buckets
from sparkowl.agent.folder import Folder, read_plain
from sparkowl.agent.java import Java
from sparkowl.agent.messages import DriverSpec
from sparkowl.agent.processes import spawn
from sparkowl.agent.signs import FOLDER, TAG

#: What Spark's own launcher opens (org.apache.spark.launcher.JavaModuleOptions).
_OPENED: Final = (
    "java.base/java.lang",
    "java.base/java.lang.invoke",
    "java.base/java.lang.reflect",
    "java.base/java.io",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.base/sun.nio.cs",
    "java.base/sun.security.action",
    "java.base/sun.util.calendar",
    "java.security.jgss/sun.security.krb5",
)

#: Flags that a class-data archive depends on: the archive maker and every start use the same.
FLAGS: Final = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    *(f"--add-opens={name}=ALL-UNNAMED" for name in _OPENED),
    "-Djdk.reflect.useDirectMethodHandle=false",
    "-Dio.netty.tryReflectionSetAccessible=true",
    # Measured after the same warm-up: about 15 % less memory than G1 on a small heap, and fewer
    # threads on machines that run several drivers on few cores.
    "-XX:+UseSerialGC",
    # Grow from small: most sessions never need the heap they may have.
    "-Xms32m",
    # No other process may attach to the virtual machine and run code in it, nor read what it keeps
    # about itself under /tmp.
    "-XX:+DisableAttachMechanism",
    "-XX:-UsePerfData",
)

#: What the archive's training run does (:mod:`.training`): with another number it is made anew.
TRAINING: Final = "2"

MAIN: Final = "org.apache.spark.deploy.SparkSubmit"


def spark_home() -> Path:
    # Looked up, not imported: the agent stays small.
    found = importlib.util.find_spec("pyspark")
    if found is None or found.origin is None:
        raise FileNotFoundError("The pyspark package is not installed in this environment.")
    return Path(found.origin).parent


def spark_version(home: Path) -> str:
    """From the name of the core jar, so that nothing has to be imported or started."""
    for jar in home.glob("jars/spark-core_*.jar"):
        return jar.stem.rpartition("-")[2]
    raise FileNotFoundError(f"There is no spark-core jar in {home / 'jars'}.")


def class_path(home: Path) -> str:
    """Spark's jars, each by name and sorted: an archive fits exactly one class path."""
    return ":".join(str(jar) for jar in sorted(home.glob("jars/*.jar")))


def archive_file(cache_dir: Path, java: Java, home: Path) -> Path:
    """Where the class-data archive for this Java and this Spark is, or would be.

    The name holds everything that a JVM compares with an archive before it accepts it.
    """
    digest = hashlib.sha256()
    for part in (str(java.home.resolve()), java.version, TRAINING, *FLAGS):
        digest.update(part.encode() + b"\0")
    for file in (java.home / "lib" / "server" / "libjvm.so", *sorted(home.glob("jars/*.jar"))):
        with suppress(OSError):
            facts = file.stat()
            digest.update(f"{file} {facts.st_size} {facts.st_mtime_ns}\0".encode())
    return cache_dir / f"classes-{digest.hexdigest()[:16]}.jsa"


def command_line(  # noqa: PLR0913 - a pure function of everything that matters
    java: Java,
    *,
    home: Path,
    heap: str,
    temporary: Path,
    properties_file: Path,
    archive: Path | None = None,
    arguments_file: Path | None = None,
    extra_class_path: Sequence[str] = (),
) -> list[str]:
    """The whole command line. It holds no property and no secret: ``ps`` shows it to everyone."""
    # Behind Spark's own: the archive is for a class path that begins with those.
    path = ":".join([class_path(home), *extra_class_path])
    sharing = [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto"] if archive else []
    return [
        str(java.executable),
        *FLAGS,
        f"-Xmx{heap}",
        f"-Djava.io.tmpdir={temporary}",
        *sharing,
        *([f"@{arguments_file}"] if arguments_file else []),
        "-cp",
        path,
        MAIN,
        "--properties-file",
        str(properties_file),
        "pyspark-shell",
    ]


def master(spec: DriverSpec) -> str:
    return spec.properties.get("spark.master", "local[*]")


def launch_properties(spec: DriverSpec, spark_version: str) -> dict[str, str]:
    """Every property of the launch: the agent's defaults, the buckets, and what the spec says."""
    return {
        "spark.master": master(spec),
        # Without these two Spark listens on the machine's outward address.
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        **buckets.spark_properties(spec.buckets, spec.properties, spark_version=spark_version),
        **spec.properties,
    }


def properties_text(properties: Mapping[str, str]) -> str:
    """The file's text in the form that ``java.util.Properties`` reads: anything odd as \\uXXXX."""
    return "".join(f"{_escaped(k)}={_escaped(v)}\n" for k, v in sorted(properties.items()))


def _escaped(text: str) -> str:
    return "".join(
        character
        if character.isascii() and (character.isalnum() or character in "._-/")
        else "".join(f"\\u{unit:04x}" for unit in _utf16(character))
        for character in text
    )


def _utf16(character: str) -> Sequence[int]:
    encoded = character.encode("utf-16-be", "surrogatepass")
    return struct.unpack(f">{len(encoded) // 2}H", encoded)


def arguments_text(options: str) -> str:
    """A user's extra Java options, one quoted per line, for ``java @file``: never in ``ps``."""
    quoted = (o.replace("\\", "\\\\").replace('"', '\\"') for o in shlex.split(options))
    return "".join(f'"{option}"\n' for option in quoted)


def inherited(ours: Mapping[str, str]) -> dict[str, str]:
    """What every process of a driver sees of our environment, which has little of the server's."""
    return {name: ours[name] for name in _INHERITED if name in ours}


def environment(folder: Folder, home: Path, ours: Mapping[str, str]) -> dict[str, str]:
    """What kernel and JVM both see: nothing of the server's environment but these."""
    return inherited(ours) | {
        "HOME": str(folder.work),
        "TMPDIR": str(folder.tmp),
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        # Spark puts it on the path of its workers, behind itself.
        "PYTHONPATH": str(folder.packages),
        # Half a gigabyte of address space and tens of megabytes less, for many threads.
        "MALLOC_ARENA_MAX": "2",
    }


_INHERITED: Final = (TAG, FOLDER, "PATH", "LANG", "LC_ALL", "TZ")


def start(
    spec: DriverSpec,
    java: Java,
    archive: Path | None,
    confine: Callable[[], None],
) -> subprocess.Popen[bytes]:
    """Write the properties and start the JVM. Its standard input is ours: at EOF it ends."""
    folder, home = Folder(Path(spec.run_dir)), spark_home()
    properties = launch_properties(spec, spark_version(home))
    folder.spark_properties.write_text(properties_text(properties))
    folder.java_arguments.write_text(
        arguments_text(properties.get("spark.driver.extraJavaOptions", ""))
    )
    folder.gateway.unlink(missing_ok=True)
    folder.give(spec.run_as)
    operators = properties.get("spark.driver.extraClassPath", "")
    argv = command_line(
        java,
        home=home,
        heap=spec.heap,
        temporary=folder.tmp,
        properties_file=folder.spark_properties,
        archive=archive,
        arguments_file=folder.java_arguments,
        extra_class_path=[*([operators] if operators else []), *spec.class_path],
    )
    return spawn(
        argv,
        env=aws.environment(spec)
        | dict(spec.environment)
        | environment(folder, home, os.environ)
        | {"_PYSPARK_DRIVER_CONN_INFO_PATH": str(folder.gateway), "JAVA_HOME": str(java.home)},
        cwd=folder.work,
        log=folder.jvm_log,
        confine=confine,
        umask=spec.umask,
        stdin=subprocess.PIPE,
    )


def gateway(file: Path) -> tuple[int, str] | None:
    """Port and secret of the JVM's gateway, once the JVM has written them (it renames the file)."""
    try:
        content = read_plain(file)
    except FileNotFoundError:
        return None
    port, length = struct.unpack_from(">ii", content)
    return port, content[8 : 8 + length].decode()


def message_of(error: Exception) -> str:
    """What Java said: its last cause, else what py4j puts behind its own first line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # Of a suppressed error, the cause is indented.
    causes = [line for line in lines if line.startswith("Caused by: ")]
    said = causes[-1] if causes else lines[min(1, len(lines) - 1)]
    return said.strip().removeprefix("Caused by: ").removeprefix(": ")
