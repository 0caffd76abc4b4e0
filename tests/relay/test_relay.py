"""A relay between Jupyter's own client and a real kernel behind a real Jupyter server."""

# mypy: allow-untyped-calls
# Jupyter's own functions are typed only here and there.

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.session import DELIM
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tests.relay.conftest import Kernel
from tests.relay.stand import (
    PATIENT_S,
    SESSION,
    Athena,
    Jupyter,
    Line,
    Terminator,
    served,
    within,
)
from tests.webs import Authority
from traitlets import default

from sparkowl.relay import kernelspec
from sparkowl.relay.options import Options, Place
from sparkowl.relay.relay import pause_after

pytestmark = pytest.mark.jupyter

Start = Callable[..., Kernel]


def test_a_cell_runs_in_the_session_and_its_output_comes_back(kernel: Start) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)

    ran = started.run("print('hello'); 6 * 7")

    assert ran.reply["status"] == "ok"
    assert ran.text("stdout") == "hello\n"
    assert ran.text("stderr") == f"SparkOwl session {SESSION} in workgroup spark\n"
    assert [m["content"]["data"]["text/plain"] for m in ran.outputs if "data" in m["content"]] == [
        "42"
    ]
    assert started.run("1").text("stderr") == ""
    started.manager.shutdown_kernel()
    assert within(lambda: started.athena.count("TerminateSession")) == 1


def test_binary_buffers_pass_in_both_directions(kernel: Start) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)
    started.run(
        "from comm import create_comm, get_comm_manager\n"
        "def opened(comm, message):\n"
        "    comm.on_msg(lambda m: comm.send({}, buffers=[bytes(m['buffers'][0])[::-1]]))\n"
        "get_comm_manager().register_target('echo', opened)\n"
    )
    session, shell = started.client.session, started.client.shell_channel.socket
    session.send(shell, "comm_open", {"comm_id": "c", "target_name": "echo", "data": {}})
    session.send(shell, "comm_msg", {"comm_id": "c", "data": {}}, buffers=[bytes(range(256))])

    def echoed() -> bytes | None:
        message = started.client.get_iopub_msg(timeout=30)
        return bytes(message["buffers"][0]) if message["msg_type"] == "comm_msg" else None

    assert within(echoed) == bytes(range(255, -1, -1))


def test_input_asks_whoever_ran_the_cell(kernel: Start) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)

    asked = started.client.execute("print(input('who? ')[::-1])", allow_stdin=True)
    question = started.client.get_stdin_msg(timeout=30)
    started.client.input("olwo")

    assert question["content"]["prompt"] == "who? "
    assert question["parent_header"]["msg_id"] == asked
    assert started.result(asked).text("stdout") == "owlo\n"


def test_two_front_ends_each_get_the_answers_to_what_they_asked(kernel: Start) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)
    other = started.another()

    mine, theirs = started.client.execute("print('mine')"), other.client.execute("print('theirs')")

    assert started.result(mine).text("stdout") == "mine\n"
    assert other.result(theirs).text("stdout") == "theirs\n"


def test_an_error_in_a_cell_is_the_kernels_own(kernel: Start) -> None:
    started = kernel()

    ran = started.run("1 / 0")

    assert (ran.reply["status"], ran.reply["ename"]) == ("error", "ZeroDivisionError")
    assert ran.errors() == ["division by zero"]


@pytest.mark.parametrize("way", ["message", "signal"])
def test_an_interrupt_stops_the_cell_and_keeps_the_session(kernel: Start, way: str) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)
    started.run("kept = 1")
    asked = started.client.execute("print('on', flush=True)\nimport time\ntime.sleep(60)")
    started.until("stream", asked)

    if way == "message":
        started.manager.interrupt_kernel()
    else:
        os.kill(started.pid, signal.SIGINT)

    assert started.result(asked).reply["ename"] == "KeyboardInterrupt"
    assert started.run("kept").reply["status"] == "ok"


# --- the session's life ---


def test_the_session_is_started_as_the_kernelspec_says(kernel: Start) -> None:
    options = Options(
        name="owl",
        work_group="etl",
        max_dpus=8,
        idle_minutes=30,
        properties={"spark.sql.shuffle.partitions": "5", "spark.x": "a=b"},
    )

    started = kernel(options=options)
    started.client.wait_for_ready(timeout=30)

    request = dict(started.athena.calls[0][1])
    assert len(request.pop("ClientRequestToken")) == 36
    assert request == {
        "WorkGroup": "etl",
        "Description": "Jupyter kernel owl",
        "EngineConfiguration": {
            "MaxConcurrentDpus": 8,
            "SparkProperties": {"spark.sql.shuffle.partitions": "5", "spark.x": "a=b"},
        },
        "NotebookVersion": "Athena notebook version 1",
        "SessionIdleTimeoutInMinutes": 30,
    }


def test_a_restart_ends_the_session_and_starts_another(kernel: Start) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)
    first = started.pid

    started.manager.shutdown_kernel(restart=True)
    assert started.athena.state == "TERMINATED"
    started.athena.state = "IDLE"
    started.manager.start_kernel(**started.manager._launch_args)

    started.client.wait_for_ready(timeout=30)
    assert started.pid != first
    operations = [operation for operation, _ in started.athena.calls]
    assert operations.count("StartSession") == 2
    assert started.athena.count("TerminateSession") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_session(kernel: Start, number: int) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)

    os.kill(started.pid, number)

    within(started.ended)
    assert started.athena.count("TerminateSession") == 1


def test_a_front_end_that_is_gone_ends_the_session(kernel: Start, tmp_path: Path) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)
    command = started.manager.format_kernel_cmd()
    orphaned = Athena(started.athena.link)
    with served(orphaned) as url:
        command = [word for word in command if not word.startswith("--endpoint-url")]
        connection = json.loads(Path(started.manager.connection_file).read_text())
        connection |= {f"{name}_port": 0 for name in ("shell", "iopub", "stdin", "control", "hb")}
        file = tmp_path / "other.json"
        file.write_text(json.dumps(connection))
        command[command.index("-f") + 1] = str(file)
        command.append(f"--endpoint-url={url}")
        program = (
            "import os, subprocess, sys\n"
            "env = os.environ | {'JPY_PARENT_PID': str(os.getpid())}\n"
            "print(subprocess.Popen(sys.argv[1:], env=env).pid, flush=True)\n"
            "sys.stdin.read()\n"
        )
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        with subprocess.Popen(
            [sys.executable, "-c", program, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | keys,
        ) as front_end:
            assert front_end.stdout is not None
            pid = int(front_end.stdout.readline())
            within(lambda: orphaned.count("CreatePresignedNotebookUrl"))
            front_end.kill()

        within(lambda: orphaned.count("TerminateSession"))
        within(lambda: not Path(f"/proc/{pid}").exists())


def test_cells_wait_for_the_session_and_say_for_what(kernel: Start) -> None:
    def queued(athena: Athena, line: Line) -> None:
        athena.state, athena.reason = "CREATING", "Waits in line: 3 sessions are before it."

    started = kernel(queued)
    # What is published before somebody subscribes is lost; front ends wait for the greeting.
    started.client.get_iopub_msg(timeout=PATIENT_S)
    asked = started.client.execute("'done'")
    waiting = started.until("stream", asked)["content"]
    started.athena.state = "IDLE"

    assert waiting == {"name": "stderr", "text": "Waits in line: 3 sessions are before it.\n"}
    assert started.result(asked).reply["status"] == "ok"


def test_an_interrupt_lets_go_of_cells_that_wait_for_the_session(kernel: Start) -> None:
    def queued(athena: Athena, line: Line) -> None:
        athena.state = "CREATING"

    started = kernel(queued)
    asked = started.client.execute("never = 1")
    within(lambda: started.athena.count("GetSessionStatus") > 2)
    started.manager.interrupt_kernel()

    assert started.result(asked).reply["ename"] == "KeyboardInterrupt"
    started.athena.state = "IDLE"
    assert started.run("never").reply["ename"] == "NameError"


def test_a_session_that_ended_is_said_by_every_cell_until_a_restart(kernel: Start) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)
    asked = started.client.execute("import time; time.sleep(3)")
    started.until("execute_input", asked)

    started.athena.state, started.athena.reason = "TERMINATED", "The session was idle too long."
    started.line.cut()

    said = (
        f"Session {SESSION} is TERMINATED: The session was idle too long. "
        "Restart the kernel to start another session."
    )
    assert started.result(asked).errors() == [said]
    later = started.run("1")
    assert later.reply["status"] == "error"
    assert later.reply["traceback"] == [f"SparkOwl: {said}"]
    assert not started.ended()
    assert started.athena.count("StartSession") == 1


def test_a_session_whose_agent_is_silent_for_a_while_is_awaited_and_not_ended(
    kernel: Start,
) -> None:
    started = kernel()
    assert started.run("kept = 7").reply["status"] == "ok"

    started.athena.state, started.athena.reason = "DEGRADED", "Its agent does not answer."
    started.line.cut()
    asked = started.client.execute("kept")
    waiting = started.until("stream", asked)["content"]["text"]
    started.athena.state, started.athena.reason = "IDLE", ""

    assert waiting == "Its agent does not answer.\n"
    assert started.result(asked).reply["status"] == "ok"
    assert started.athena.count("TerminateSession") == 0


# --- starts that fail: the front end comes up, and the cell says why ---


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccessDeniedException", "User nobody may not call athena:StartSession."),
        ("InvalidRequestException", "WorkGroup nowhere is not found."),
        ("TooManyRequestsException", "Maximum allowed sessions reached."),
    ],
)
def test_a_refused_start_is_said_by_the_cell(kernel: Start, code: str, words: str) -> None:
    def refusing(athena: Athena, line: Line) -> None:
        athena.refusal = (code, words)

    started = kernel(refusing)
    started.client.wait_for_ready(timeout=30)

    (said,) = started.run("1").errors()
    assert said == (
        f"The session cannot be started: {words} Restart the kernel to start another session."
    )


def test_a_session_that_fails_says_why(kernel: Start) -> None:
    def failing(athena: Athena, line: Line) -> None:
        athena.state, athena.reason = "FAILED", "Spark property spark.x is not allowed."

    started = kernel(failing)
    started.client.wait_for_ready(timeout=30)

    (said,) = started.run("1").errors()
    assert said.startswith(f"Session {SESSION} is FAILED: Spark property spark.x is not allowed.")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (Place(data_dir=Path("/nowhere")), "No server runs on /nowhere. Start one with: "),
        (Place(endpoint_url="http://127.0.0.1:9"), "The server cannot be called: "),
        (Place(endpoint_url="example.com"), "The server cannot be called: Invalid endpoint: "),
        (Place(profile="nobody"), "The server cannot be called: The config profile (nobody) "),
    ],
)
def test_no_server_is_said_by_the_cell(kernel: Start, place: Place, words: str) -> None:
    started = kernel(options=Options(place=place))
    started.client.wait_for_ready(timeout=40)

    (said,) = started.run("1").errors()
    assert said.startswith(words)


def test_a_url_of_something_else_is_said_by_the_cell(kernel: Start) -> None:
    def something_else(athena: Athena, line: Line) -> None:
        athena.answer = lambda *_: {"hello": "world"}  # type: ignore[method-assign]

    started = kernel(something_else)
    started.client.wait_for_ready(timeout=30)

    (said,) = started.run("1").errors()
    assert said.startswith("What answers at http://127.0.0.1:")


# --- lost connections ---


def test_a_lost_connection_is_made_again_and_nothing_is_missed(kernel: Start) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)
    asked = started.client.execute("import time\ntime.sleep(2)\nprint('after')")
    started.until("execute_input", asked)
    links = started.athena.count("CreatePresignedNotebookUrl")
    started.line.cut()

    ran = started.result(asked)

    assert ran.reply["status"] == "ok"
    assert ran.text("stdout") == "after\n"
    assert started.athena.count("CreatePresignedNotebookUrl") == links + 1


def test_cells_asked_while_there_is_no_connection_run_when_there_is_one(kernel: Start) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)
    links = started.athena.count("CreatePresignedNotebookUrl")
    started.line.broken = True
    started.line.cut()
    within(lambda: started.athena.count("CreatePresignedNotebookUrl") >= links + 2)
    asked = [started.client.execute(f"print({n})") for n in range(3)]
    started.line.broken = False

    assert [started.result(each).text("stdout") for each in asked] == ["0\n", "1\n", "2\n"]


def test_an_interrupt_without_a_connection_does_not_disown_what_runs(kernel: Start) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)
    asked = started.client.execute("import time\ntime.sleep(3)\nprint('after')")
    started.until("execute_input", asked)
    links = started.athena.count("CreatePresignedNotebookUrl")
    started.line.broken = True
    started.line.cut()
    within(lambda: started.athena.count("CreatePresignedNotebookUrl") >= links + 1)
    behind = started.client.execute("behind = 1")
    started.manager.interrupt_kernel()

    assert started.result(behind).reply["ename"] == "KeyboardInterrupt"
    started.line.broken = False
    ran = started.result(asked)
    assert (ran.reply["status"], ran.text("stdout")) == ("ok", "after\n")
    assert started.run("behind").reply["ename"] == "NameError"


def test_a_session_whose_agent_is_away_for_a_while_is_awaited(kernel: Start) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)
    started.run("kept = 7")
    looks = started.athena.count("GetSessionStatus")
    started.athena.state, started.athena.reason = "DEGRADED", "Its agent does not answer."
    started.line.cut()
    within(lambda: started.athena.count("GetSessionStatus") >= looks + 2)
    asked = started.client.execute("print(kept)")

    waiting = started.until("stream", asked)["content"]
    started.athena.state, started.athena.reason = "IDLE", ""
    assert waiting == {"name": "stderr", "text": "Its agent does not answer.\n"}
    assert started.result(asked).text("stdout") == "7\n"
    assert started.athena.count("TerminateSession") == 0


def test_an_answer_that_is_lost_for_good_is_said_to_be(kernel: Start, remote: Jupyter) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)
    asked = started.client.execute("import time; time.sleep(1)")
    started.until("execute_input", asked)
    started.line.broken = True
    started.line.cut()
    within(lambda: remote.kernel()["connections"] == 0)
    # Jupyter keeps messages for a visitor until another one comes.
    within(lambda: remote.kernel()["execution_state"] == "idle")
    remote.visit()
    started.line.broken = False

    (said,) = started.result(asked).errors()

    assert said == (
        "The connection to the session was lost while this ran, and its answer with it. "
        "Whether it finished is not known."
    )
    assert started.run("1").reply["status"] == "ok"


def test_a_kernel_that_begins_anew_is_said_by_the_cell_that_ran(kernel: Start) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)

    (said,) = started.run("import os; os.kill(os.getpid(), 9)").errors()

    assert said == "The session's kernel was restarted; its variables are gone."
    # Only the reply: Jupyter's own new kernels may publish before their subscribers are there.
    assert started.client.execute("1", reply=True, timeout=30)["content"]["status"] == "ok"


def test_tries_go_on_however_many_have_failed() -> None:
    assert pause_after(1) < pause_after(3) < pause_after(5000) <= 15


def test_a_server_with_a_certificate_of_the_companys_own(
    kernel: Start, remote: Jupyter, tmp_path: Path
) -> None:
    authority = Authority()
    bundle = tmp_path / "authorities.pem"
    bundle.write_bytes(authority.pem)
    proxy = Terminator(remote.port, authority.server(tmp_path, "localhost"))

    def encrypted(athena: Athena, line: Line) -> None:
        link = remote.link(proxy.port)
        athena.link = link.replace("http://127.0.0.1:", "https://localhost:")

    try:
        started = kernel(encrypted, environment={"AWS_CA_BUNDLE": str(bundle)})
        started.client.wait_for_ready(timeout=30)

        assert started.run("print(6 * 7)").text("stdout") == "42\n"
    finally:
        proxy.close()


# --- what must not harm ---


def test_messages_that_nobody_signed_or_that_are_none_are_left_out(kernel: Start) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)
    session = started.client.session
    header = session.pack(session.msg_header("execute_request"))
    content = session.pack({"code": "harmed = 1", "silent": False})
    signed = [header, b"{}", b"{}", content]

    def sign(parts: list[bytes]) -> list[bytes]:
        return [DELIM, session.sign(parts), *parts]

    for frames in [
        [],
        [b"x"],
        [DELIM],
        [DELIM, b"", *signed],
        [DELIM, b"0" * 64, *signed],
        sign([b"[]", b"{}", b"{}", b"{}"]),
        sign([b"{}", b"{}", b"{}", b"{}"]),
        sign([b"null", b"", b"", b""]),
        sign([b"\xff", b"{}", b"{}", b"{}"]),
        sign([b'{"msg_id": [], "msg_type": {}}', b"{}", b"{}", b"{}"]),
        sign([b"[" * 50_000, b"{}", b"{}", b"{}"]),
        sign([header]),
    ]:
        for channel in (started.client.shell_channel, started.client.control_channel):
            if frames:
                channel.socket.send_multipart(frames)

    assert started.run("harmed").reply["ename"] == "NameError"
    assert not started.ended()


def test_a_message_that_the_server_would_not_take_is_refused(kernel: Start) -> None:
    started = kernel()
    started.client.wait_for_ready(timeout=30)

    (said,) = started.run("#" * (16 << 20)).errors()

    assert said == "A message may be 15 MiB long."
    assert started.run("1").reply["status"] == "ok"


def test_the_front_end_may_ask_for_encryption(kernel: Start) -> None:
    started = kernel(transport_encryption="required")
    started.client.wait_for_ready(timeout=30)

    assert started.manager.curve_secretkey
    assert started.run("1").reply["status"] == "ok"


# --- as a whole notebook ---


def test_nbclient_shows_why_there_is_no_session(tmp_path: Path) -> None:
    athena = Athena("", refusal=("AccessDeniedException", "You may not."))
    specs = KernelSpecManager(kernel_dirs=[str(tmp_path / "share/jupyter/kernels")])

    class Manager(AsyncKernelManager):  # type: ignore[misc]  # Jupyter's has no types
        @default("kernel_spec_manager")
        def _specs(self) -> KernelSpecManager:
            return specs

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    client = NotebookClient(notebook, kernel_name="sparkowl", kernel_manager_class=Manager)
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    with served(athena) as url:
        kernelspec.install(Options(Place(endpoint_url=url)), "SparkOwl", str(tmp_path))
        with pytest.raises(CellExecutionError, match="The session cannot be started: You may not"):
            client.execute(env=os.environ | keys)

    assert "You may not." in notebook.cells[0].outputs[0].evalue
