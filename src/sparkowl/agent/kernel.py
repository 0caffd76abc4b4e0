"""``python -m sparkowl.agent.kernel``: where user code runs, an ipykernel with Spark in it.

Started by the agent beside the JVM, in the driver's folder. It imports Spark while the JVM comes
up, attaches to it, and serves. What it is told by its parent is on its command line; what it
reports (one JSON line, see :func:`main`) goes to the pipe named there.
"""

from __future__ import annotations

import asyncio
import faulthandler
import fcntl
import json
import os
import secrets
import signal
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sparkowl.agent import jvm
from sparkowl.agent.folder import KERNEL_SOCKETS, Folder
from sparkowl.agent.noise import silence_py4j

#: At this signal the kernel writes where each of its threads is to its log, for ``sparkowl sessions
#: diagnose``. By default a process ignores it, so that it does no harm where user code took the
#: handler away; and it is left alone where the log is no longer behind this descriptor.
DUMP_SIGNAL: Final = signal.SIGURG
DUMP_DESCRIPTOR: Final = 250

#: How often to look for the JVM's gateway. Only while starting; a look costs microseconds.
_GATEWAY_POLL_S: Final = 0.005


def main() -> None:
    """Attach, report, serve.

    The report is either ``{"marks": …, "spark_version": …, …}`` or ``{"error": …}``. A pipe that
    ends without one means that the process died.
    """
    report, limit, warm = int(sys.argv[1]), int(sys.argv[2]), "--warm" in sys.argv
    _dump_when_asked()
    app = _application(Folder(Path.cwd()))
    try:
        ready = _attach(app, Folder(Path.cwd()), limit, warm=warm)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is why there is no session
        _send(report, {"error": _reason(error)})
        sys.exit(1)
    _send(report, ready)
    _be_deaf_between_blocks()
    _let_signals_wake_the_loop()
    app.start()


def _dump_when_asked() -> None:
    with suppress(OSError):  # fewer files may be open
        # Before ipykernel takes standard error for itself: what is written there then is a block's.
        log = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, DUMP_DESCRIPTOR)
        faulthandler.register(DUMP_SIGNAL, log, all_threads=True)


def _reason(error: Exception) -> str:
    """Why there is no session. What py4j says of a Java error is only where it happened."""
    said = ""
    with suppress(Exception):  # the JVM may be gone, and then the error says so itself
        cause = getattr(error, "java_exception", None)
        while cause is not None:
            said = cause.getMessage() or said
            cause = cause.getCause()
    return said or f"{type(error).__name__}: {error}"


def _be_deaf_between_blocks() -> None:
    """An interrupt stops what runs in the main thread, for which ipykernel sets a handler each
    time. Between, Spark's own would raise in the loop, which ends it: an interrupt may come too
    late, or when only a widget works, in a thread of its own.
    """
    # Not SIG_IGN, which programs that are started then would inherit.
    signal.signal(signal.SIGINT, lambda *_: None)


def _let_signals_wake_the_loop() -> None:
    """Else an interrupt is only seen when the loop wakes up by itself: not during a long await.

    Any handler of the loop's own does it, also for a signal that never comes.
    """
    from tornado.ioloop import IOLoop

    IOLoop.current().add_callback(
        lambda: asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, lambda: None)
    )


def _send(report: int, content: dict[str, Any]) -> None:
    with os.fdopen(report, "w") as pipe:
        pipe.write(json.dumps(content) + "\n")


def _application(folder: Folder) -> Any:
    """The kernel, bound to its sockets and not yet serving."""
    _import_spark()
    from ipykernel.kernelapp import IPKernelApp
    from traitlets.config import Config
    from zmq import curve_keypair

    config = Config()
    config.IPKernelApp.connection_file = str(folder.connection)
    # Sockets that only this user can open, and a key without which no message is believed.
    config.IPKernelApp.transport = "ipc"
    config.IPKernelApp.ip = KERNEL_SOCKETS
    config.Session.packer = "sparkowl.agent.streams.pack"
    config.Session.key = secrets.token_hex(32).encode()
    config.IPKernelApp.exec_PYTHONSTARTUP = False
    # An API has no up-arrow key; and results must not stay in memory because they were shown.
    config.HistoryManager.enabled = False
    config.InteractiveShell.cache_size = 0
    config.InteractiveShell.colors = "nocolor"
    app = IPKernelApp.instance(config=config)
    # The key signs, but what the kernel publishes is sent to whoever connects, and Landlock does
    # not stop a process of the same user from connecting to a socket whose name it can guess.
    app.curve_publickey, app.curve_secretkey = curve_keypair()
    app.initialize([])
    _greet_everybody(app.iopub_thread)
    _silence()
    return app


def _greet_everybody(iopub: Any) -> None:
    """ipykernel greets who subscribes to what it publishes, and a page waits for that. But of a
    subscription that somebody has already, as the agent always has, ZeroMQ tells it only if asked.
    """
    from zmq import XPUB_VERBOSE

    # In its own thread: sockets are not shared.
    iopub.schedule(lambda: iopub.socket.setsockopt(XPUB_VERBOSE, 1))


def _import_spark() -> None:
    """Everything the attach will import, while the JVM is still starting."""
    import pyspark.sql
    import pyspark.testing  # noqa: F401 - SparkConf() imports it, and with it pandas


def _silence() -> None:
    """No noise in a block's stderr. After the kernel's own set-up, which enables every logger."""
    silence_py4j()
    _silence_query_contexts()
    warnings.filterwarnings("ignore", message="To exit: use 'exit', 'quit', or Ctrl-D.")


def _silence_query_contexts() -> None:
    """For an unknown column Spark logs a line of JSON, next to the error that says the same."""
    try:
        from pyspark.logger import PySparkLogger
    except ModuleNotFoundError:  # Spark 3 has no such log
        return
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        # Through its own factory: a plain logger of that name would break Spark's call.
        PySparkLogger.getLogger(name).disabled = True


def _attach(app: Any, folder: Folder, limit: int, *, warm: bool) -> dict[str, Any]:
    from pyspark.sql import SparkSession

    port, secret = _wait_for_gateway(folder)
    marks = {"jvm": time.time()}
    sc = _context(port, secret)
    spark = SparkSession.builder.getOrCreate()
    marks["context"] = time.time()
    if warm:
        spark.range(1000).selectExpr("sum(id)").collect()
    _make_room(app, folder, limit, {"spark": spark, "sc": sc})
    system = sc._jvm.java.lang.System
    return {
        "marks": marks,
        "spark_version": sc.version,
        "java_version": system.getProperty("java.version"),
        "python_version": ".".join(map(str, sys.version_info[:3])),
        # The virtual machine's own word on whether a class-data archive is in use.
        "sharing": "sharing" in system.getProperty("java.vm.info"),
    }


def _wait_for_gateway(folder: Folder) -> tuple[int, str]:
    while (found := jvm.gateway(folder.gateway)) is None:
        time.sleep(_GATEWAY_POLL_S)
    return found


def _context(port: int, secret: str) -> Any:
    from pyspark import SparkContext

    attach = {"PYSPARK_GATEWAY_PORT": str(port), "PYSPARK_GATEWAY_SECRET": secret}
    os.environ |= attach
    try:
        return SparkContext()
    finally:
        # Not for user code's environment, nor for the programs it starts.
        for name in attach:
            os.environ.pop(name, None)


def _make_room(app: Any, folder: Folder, limit: int, names: dict[str, Any]) -> None:
    """What a block finds: its directory, its names, its magics, its errors, its streams."""
    from sparkowl.agent import aws, magics, streams, tracebacks

    shell = app.shell
    os.chdir(folder.work)
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR"):
        # ipykernel's wish for colours, which stored output must not have.
        os.environ.pop(name, None)
    sys.path.insert(0, str(folder.work))
    shell.user_ns.update(names)
    # Hidden names are not the user's own: `%who` and a reset leave them alone.
    shell.user_ns_hidden.update(names)
    tracebacks.install(shell)
    magics.register(shell, folder.session)
    streams.guard(app.kernel, limit)
    aws.keep_current(shell, os.environ)
    # What is not run after an error is decided by whoever sends it. The kernel itself would refuse
    # anything that comes in the same moment, from whomever.
    app.kernel._abort_queues = lambda *_: None
    # `quit()` would end the kernel; here it only ends the block.
    shell.ask_exit = _refuse_to_exit


def _refuse_to_exit() -> None:
    raise SystemExit


if __name__ == "__main__":
    main()
