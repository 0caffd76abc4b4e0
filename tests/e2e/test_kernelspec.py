"""A notebook of twenty cells, run by nbclient through the installed kernelspec on real Spark."""

# mypy: allow-untyped-calls
# Jupyter's own functions are typed only here and there.

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tests.e2e.conftest import GONE, Server, User

pytestmark = pytest.mark.spark

CELLS = [
    "import sys, base64\nprint(spark.version)",
    "numbers = spark.range(1000)",
    "numbers.count()",
    "numbers.selectExpr('sum(id) AS total').show()",
    "import matplotlib.pyplot as plt",
    "plt.plot([1, 2, 4, 8])\nplt.show()",
    "numbers.selectExpr('id % 3 AS third').groupBy('third').count().orderBy('third').toPandas()",
    "from IPython.display import HTML, display, update_display\nHTML('<b>bold</b>')",
    "shown = display('first', display_id='shown')",
    "update_display('second', display_id='shown')",
    "print('to stderr', file=sys.stderr)",
    "for n in range(2000):\n    print(n)",
    "1 / 0",
    "after_the_error = True",
    "after_the_error",
    "%time spark.range(10).count()",
    "numbers.createOrReplaceTempView('numbers')",
    "spark.sql('SELECT max(id) AS largest FROM numbers').collect()[0].largest",
    "sc.parallelize(range(100), 4).map(lambda n: n * n).sum()",
    "import os\nos.getpid() > 1",
]


@pytest.fixture
def specs(server: Server, tmp_path: Path) -> KernelSpecManager:
    """Where Jupyter finds the kernelspec of the server."""
    done = server.command("kernel", "install", "--prefix", str(tmp_path), "--name", "owl")
    assert done.returncode == 0, done.stderr
    return KernelSpecManager(kernel_dirs=[str(tmp_path / "share/jupyter/kernels")])


def execute(
    specs: KernelSpecManager, cells: list[str], *, failing: frozenset[int] = frozenset()
) -> Any:
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                cell, metadata={"tags": ["raises-exception"]} if at in failing else {}
            )
            for at, cell in enumerate(cells)
        ]
    )
    manager = AsyncKernelManager(kernel_name="owl", kernel_spec_manager=specs)
    NotebookClient(notebook, km=manager, timeout=100, startup_timeout=100).execute()
    return notebook


def sessions(user: User) -> list[dict[str, Any]]:
    found = user.athena.list_sessions(WorkGroup="spark")["Sessions"]
    return [session for session in found if session["Description"] == "Jupyter kernel owl"]


def text(cell: Any, stream: str = "stdout") -> str:
    outputs = (out for out in cell.outputs if out.output_type == "stream")
    return "".join(out.text for out in outputs if out.name == stream)


def result(cell: Any) -> str:
    (found,) = [out for out in cell.outputs if out.output_type == "execute_result"]
    return str(found.data["text/plain"])


def shown(cell: Any) -> list[Any]:
    return [out.data for out in cell.outputs if out.output_type == "display_data"]


def test_a_notebook_of_twenty_cells_runs_in_a_session_and_leaves_none(
    specs: KernelSpecManager, user: User
) -> None:
    assert len(CELLS) == 20
    ran = execute(specs, CELLS, failing=frozenset({12})).cells

    assert text(ran[0]).strip().startswith("4.")
    assert "SparkOwl session " in text(ran[0], "stderr")
    assert result(ran[2]) == "1000"
    assert "499500" in text(ran[3])
    assert any("image/png" in data for data in shown(ran[5]))
    assert "334" in ran[6].outputs[-1].data["text/html"]
    assert ran[7].outputs[-1].data["text/html"] == "<b>bold</b>"
    assert shown(ran[8])[0]["text/plain"] == "'second'"
    assert text(ran[10], "stderr") == "to stderr\n"
    assert text(ran[11]) == "".join(f"{n}\n" for n in range(2000))
    assert [out.ename for out in ran[12].outputs if out.output_type == "error"] == [
        "ZeroDivisionError"
    ]
    assert result(ran[14]) == "True"
    assert result(ran[15]) == "10"
    assert result(ran[17]) == "999"
    assert result(ran[18]) == "328350"
    assert result(ran[19]) == "True"
    (session,) = sessions(user)
    ended = user.await_session(session["SessionId"], GONE)
    assert ended["State"] == "TERMINATED"
    calculations = user.athena.list_calculation_executions(
        SessionId=session["SessionId"], MaxResults=100
    )["Calculations"]
    states = [calculation["Status"]["State"] for calculation in calculations]
    assert (states.count("COMPLETED"), states.count("FAILED")) == (19, 1)
    assert {calculation["Description"] for calculation in calculations} == {
        "Calculation started via Jupyter notebook"
    }


def test_a_session_that_is_ended_from_outside_is_said_by_the_cell(
    specs: KernelSpecManager, user: User
) -> None:
    known = {session["SessionId"] for session in sessions(user)}

    def end_when_busy() -> None:
        found = [one["SessionId"] for one in sessions(user) if one["SessionId"] not in known]
        user.await_session(found[0], {"BUSY"})
        user.athena.terminate_session(SessionId=found[0])

    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("import time; time.sleep(60)")]
    )
    manager = AsyncKernelManager(kernel_name="owl", kernel_spec_manager=specs)
    client = NotebookClient(notebook, km=manager, timeout=100, startup_timeout=100)
    with ThreadPoolExecutor(1) as aside:
        client.on_cell_execute = lambda **_: aside.submit(end_when_busy)
        with pytest.raises(CellExecutionError, match="Restart the kernel to start another"):
            client.execute()
