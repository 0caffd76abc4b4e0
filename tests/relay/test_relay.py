"""A relay between Jupyter's own client and a real kernel behind a real Jupyter server."""

from __future__ import annotations

from collections.abc import Callable

from tests.relay.conftest import Kernel
from tests.relay.stand import SESSION, within

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
