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
from traitlets import default

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
    "spark.range(10).count()",
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


def client(specs: KernelSpecManager, cells: list[str], *, failing: int = -1) -> NotebookClient:
    """What runs these cells in a kernel that it starts and ends itself; one of them may fail."""

    class Manager(AsyncKernelManager):  # type: ignore[misc]  # Jupyter's has no types
        @default("kernel_spec_manager")
        def _specs(self) -> KernelSpecManager:
            return specs

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    if failing >= 0:
        notebook.cells[failing].metadata["tags"] = ["raises-exception"]
    return NotebookClient(
        notebook,
        kernel_name="owl",
        kernel_manager_class=Manager,
        timeout=100,
        startup_timeout=100,
    )


def active(user: User) -> list[str]:
    """The sessions of the kernelspec that have not ended."""
    found = user.athena.list_sessions(WorkGroup="spark")["Sessions"]
    return [one["SessionId"] for one in found if one["Description"] == "Jupyter kernel owl"]


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
    ran = client(specs, CELLS, failing=12).execute().cells

    assert text(ran[0]).strip().startswith("4.")
    said = text(ran[0], "stderr").splitlines()[-1]
    assert said.startswith("SparkOwl session ")
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
    session = said.split()[2]
    assert user.await_session(session, GONE)["State"] == "TERMINATED"
    assert active(user) == []
    calculations = user.athena.list_calculation_executions(SessionId=session, MaxResults=100)[
        "Calculations"
    ]
    states = [calculation["Status"]["State"] for calculation in calculations]
    assert (states.count("COMPLETED"), states.count("FAILED")) == (19, 1)
    assert {calculation["Description"] for calculation in calculations} == {
        "Calculation started via Jupyter notebook"
    }


def test_a_session_that_is_ended_from_outside_is_said_by_the_cell(
    specs: KernelSpecManager, user: User
) -> None:
    def end_when_busy() -> None:
        (session,) = active(user)
        user.await_session(session, {"BUSY"})
        user.athena.terminate_session(SessionId=session)

    notebook = client(specs, ["import time; time.sleep(60)"])
    with ThreadPoolExecutor(1) as aside:
        notebook.on_cell_execute = lambda **_: aside.submit(end_when_busy)
        with pytest.raises(CellExecutionError, match="Restart the kernel to start another"):
            notebook.execute()
