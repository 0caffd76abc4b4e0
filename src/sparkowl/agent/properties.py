"""``python -m sparkowl.agent.properties``: every property that this environment's Spark knows.

Read from the running Spark, not from its documentation: which keys there are, when each can be
set, and under which other names. Spark registers a property when the object that declares it is
loaded, so every object that declares one is found in Spark's jars and loaded.

Asked for nothing, or for JSON with a ``java_home``; the answer is text, see :func:`text`. That a
JVM starts and a small query runs is the other thing that this shows.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from sparkowl.agent import java, jvm
from sparkowl.agent.noise import silence_py4j
from sparkowl.agent.processes import dying_with_parent

_START_TIMEOUT_S: Final = 120
#: A class that declares properties names one of these in its constant pool...
_DECLARES: Final = (
    b"org/apache/spark/internal/config/ConfigBuilder",
    b"org/apache/spark/internal/config/ConfigEntry",
)
#: ...and is a Scala object. What belongs to Spark's own tests declares nothing of interest.
_OBJECT: Final = re.compile(r"org/apache/spark/[\w/]+\$\.class")
_GRACE_S: Final = 10


@dataclass(frozen=True, slots=True)
class Property:
    key: str
    #: ``launch``: fixed when the driver starts. ``run-time``: can be set on a running session.
    #: ``gone``: this Spark knows the name, and ignores or refuses it.
    when: str
    #: Older or other spellings that Spark takes for the same property, with the same values.
    aliases: tuple[str, ...] = ()
    #: The property whose value this one has when it is not set.
    follows: str | None = None


class PropertiesError(Exception):
    """Spark could not be asked; the message says why."""


def text(spark_version: str, properties: Iterable[Property]) -> str:
    """One property a line: key, when, then ``=alias`` for each alias, ``<key`` for what it follows.

    Sorted, so that two lists can be compared line by line.
    """
    lines = [f"# The properties of Apache Spark {spark_version}, as it says itself."]
    for entry in sorted(properties, key=lambda entry: entry.key):
        more = [f"={alias}" for alias in sorted(entry.aliases)]
        more += [f"<{entry.follows}"] if entry.follows else []
        lines.append(" ".join([entry.key, entry.when, *more]))
    return "\n".join(lines) + "\n"


def read(java_home: str | None) -> str:
    """Start this environment's Spark, ask it, and end it. :class:`PropertiesError`."""
    home = jvm.spark_home()
    found = java.find(java_home, os.environ, jvm.spark_version(home))
    with (
        tempfile.TemporaryDirectory(prefix="sparkowl-") as scratch,
        _machine(found, home, Path(scratch)) as (port, secret),
    ):
        return _ask(port, secret, home)


@contextmanager
def _machine(found: java.Java, home: Path, scratch: Path) -> Iterator[tuple[int, str]]:
    """A JVM with Spark's gateway; its port and secret."""
    gateway, log = scratch / "gateway", scratch / "jvm.log"
    properties = {
        "spark.master": "local[1]",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.warehouse.dir": (scratch / "warehouse").as_uri(),
    }
    (scratch / "spark.properties").write_text(jvm.properties_text(properties))
    argv = jvm.command_line(
        found,
        home=home,
        heap="1g",
        temporary=scratch,
        properties_file=scratch / "spark.properties",
    )
    with log.open("wb") as written:
        process = subprocess.Popen(
            argv,
            cwd=scratch,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(scratch),
                "SPARK_HOME": str(home),
                "SPARK_LOCAL_IP": "127.0.0.1",
                "JAVA_HOME": str(found.home),
                "PYSPARK_PYTHON": sys.executable,
                "_PYSPARK_DRIVER_CONN_INFO_PATH": str(gateway),
            },
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=written,
            preexec_fn=dying_with_parent(),
        )
    try:
        yield _gateway(process, gateway, log)
    finally:
        assert process.stdin is not None
        process.stdin.close()  # the gateway's end
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _gateway(process: subprocess.Popen[bytes], file: Path, log: Path) -> tuple[int, str]:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while (found := jvm.gateway(file)) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip()[-1000:]
            raise PropertiesError(f"Spark's JVM did not start: {said}")
        time.sleep(0.02)
    return found


def _ask(port: int, secret: str, home: Path) -> str:
    from py4j.protocol import Py4JError

    silence_py4j()
    os.environ |= {"PYSPARK_GATEWAY_PORT": str(port), "PYSPARK_GATEWAY_SECRET": secret}
    try:
        from pyspark.sql import SparkSession

        spark = SparkSession.builder.getOrCreate()
        _try(spark)
        asked = _Asked(spark.sparkContext._jvm)
        asked.load(declaring(home))
        return text(spark.version, asked.properties())
    except (Py4JError, OSError) as error:
        raise PropertiesError(f"Spark could not be asked: {error}") from error
    except ImportError as error:
        raise PropertiesError(
            f"A package is missing, or does not fit this Spark: {error}"
        ) from error


def _try(spark: Any) -> None:
    """What a driver does first: import the kernel's packages, hand rows to pandas through Arrow."""
    for package in ("ipykernel.kernelapp", "jupyter_client", "websockets", "pyspark.testing"):
        import_module(package)
    spark.conf.set("spark.sql.execution.arrow.pyspark.enabled", "true")
    if len(spark.range(3).toPandas()) != 3:
        raise PropertiesError("Spark does not count to three.")
    spark.conf.unset("spark.sql.execution.arrow.pyspark.enabled")


def declaring(home: Path) -> Iterator[str]:
    """Names of the Scala objects in Spark's own jars that declare properties."""
    for jar in sorted(home.glob("jars/spark-*.jar")):
        with zipfile.ZipFile(jar) as archive:
            for name in archive.namelist():
                if _OBJECT.fullmatch(name) and any(
                    word in archive.read(name) for word in _DECLARES
                ):
                    yield name.removesuffix(".class").replace("/", ".")


class _Asked:
    """The registries of a running Spark, over py4j."""

    def __init__(self, machine: Any) -> None:
        self._jvm = machine
        self._loader = machine.java.lang.Thread.currentThread().getContextClassLoader()

    def load(self, names: Iterable[str]) -> None:
        from py4j.protocol import Py4JJavaError

        for name in names:
            try:
                self._jvm.java.lang.Class.forName(name, True, self._loader)
            except Py4JJavaError:
                # It wants a library that is not here (Kubernetes, a shuffle service): what it
                # declares cannot be in force either.
                continue

    def properties(self) -> list[Property]:
        sql = self._object("org.apache.spark.sql.internal.SQLConf")
        found: dict[str, Property] = {}
        entries = self._object("org.apache.spark.internal.config.ConfigEntry")
        for entry in self._values(self._member(entries, "knownConfigs")):
            key = str(entry.key())
            found[key] = self._property(entry, self._when(sql, key))
        for entry in self._values(self._member(sql, "sqlConfEntries")):
            key = str(entry.key())
            found[key] = self._property(entry, self._when(sql, key))
        self._add_older_spellings(found)
        self._add_gone(found, sql)
        return list(found.values())

    def _when(self, sql: Any, key: str) -> str:
        settable = sql.containsConfigKey(key) and not sql.isStaticConfigKey(key)
        return "run-time" if settable else "launch"

    def _property(self, entry: Any, when: str) -> Property:
        aliases = tuple(map(str, self._sequence(entry.alternatives())))
        follows = None
        if entry.getClass().getSimpleName() == "FallbackConfigEntry":
            follows = str(self._member(entry, "fallback").key())
        return Property(str(entry.key()), when, aliases, follows)

    def _add_older_spellings(self, found: dict[str, Property]) -> None:
        """SparkConf's own table. A spelling whose values Spark translates stands for itself."""
        conf = self._object("org.apache.spark.SparkConf")
        table = self._member(conf, "configsWithAlternatives")
        for key in map(str, self._sequence(table.keys().toSeq())):
            known = found.get(key, Property(key, "launch"))
            aliases = set(known.aliases)
            for other in self._sequence(table.apply(key)):
                spelling = str(other.key())
                if other.translation() is None:
                    aliases.add(spelling)
                else:
                    found.setdefault(spelling, Property(spelling, known.when))
            found[key] = Property(key, known.when, tuple(aliases), known.follows)

    def _add_gone(self, found: dict[str, Property], sql: Any) -> None:
        conf = self._object("org.apache.spark.SparkConf")
        for table in (self._member(conf, "deprecatedConfigs"), sql.removedSQLConfigs()):
            for key in map(str, self._sequence(table.keys().toSeq())):
                found.setdefault(key, Property(key, "gone"))

    # --- Scala from Python ---------------------------------------------------------------------

    def _object(self, name: str) -> Any:
        """A Scala object, private to Spark or not."""
        described = self._jvm.java.lang.Class.forName(f"{name}$", True, self._loader)
        return described.getField("MODULE$").get(None)

    def _member(self, owner: Any, name: str) -> Any:
        """A field by its name, or by what Scala made of it (``org$apache$…$$name``)."""
        described = owner.getClass()
        while described is not None:
            for member in described.getDeclaredFields():
                if str(member.getName()).rpartition("$")[2] == name:
                    member.setAccessible(True)
                    return member.get(owner)
            described = described.getSuperclass()
        raise PropertiesError(f"This Spark has no {name}: SparkOwl cannot read its properties.")

    @staticmethod
    def _values(table: Any) -> Iterator[Any]:
        yield from list(table.values())

    @staticmethod
    def _sequence(sequence: Any) -> Iterator[Any]:
        for index in range(sequence.size()):
            yield sequence.apply(index)


def main() -> int:
    given = "" if sys.stdin.isatty() else sys.stdin.read()
    asked: dict[str, Any] = json.loads(given) if given.strip() else {}
    try:
        sys.stdout.write(read(asked.get("java_home")))
    except (PropertiesError, java.JavaNotFound, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
