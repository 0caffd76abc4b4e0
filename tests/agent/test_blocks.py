"""What a block says, and what its author gets to see: on a real driver."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from sparkowl.agent.messages import Ended, Failed, Run

if TYPE_CHECKING:
    from tests.agent.conftest import Driver, Start

pytestmark = pytest.mark.spark


@pytest.mark.parametrize(
    ("code", "stdout"),
    [
        ("print('hello')", "hello\n"),
        ("print('caf\\u00e9 \\U0001f989')", "café 🦉\n"),
        ("print('a\\rb')", "a\rb\n"),
        # A thread of ipykernel's reads what goes around Python, and nothing waits for it.
        ("import os, time; _ = os.write(1, b'\\xff\\n'); time.sleep(0.5)", "\ufffd\n"),
        ("import os, time; _ = os.system('echo from a shell'); time.sleep(0.5)", "from a shell\n"),
        ("spark.range(2).show()", "+---+\n| id|\n+---+\n|  0|\n|  1|\n+---+\n\n"),
        ("%%sql\nselect 1 as one", "+---+\n|one|\n+---+\n|  1|\n+---+\n\n"),
        ("\n\n%%sql select 2 as two", "+---+\n|two|\n+---+\n|  2|\n+---+\n\n"),
        ("text = '''\n%status\n'''\nprint(text)", "\n%status\n\n"),
        ("print('before \\ud800 after')", "before ? after\n"),
        ("import sys; sys.stdout = sys.__stdout__; print('restored')", "restored\n"),
        ("import sys; sys.stderr = sys.__stderr__; print('restored')", "restored\n"),
        ("", ""),
        ("# nothing", ""),
    ],
)
def test_standard_output(driver: Driver, code: str, stdout: str) -> None:
    done = driver.run(code)
    assert (done.outcome, done.reason, done.stderr) == ("completed", "", "")
    assert done.stdout == stdout


@pytest.mark.parametrize(
    ("code", "stderr", "reason"),
    [
        (
            "\nfoobar",
            "File \"<stdin>\", line 2, in <module>\nNameError: name 'foobar' is not defined",
            "NameError: name 'foobar' is not defined",
        ),
        (
            "def f():\n    return 1 / 0\n\nf()",
            'File "<stdin>", line 4, in <module>\n  File "<stdin>", line 2, in f\n'
            "ZeroDivisionError: division by zero",
            "ZeroDivisionError: division by zero",
        ),
        (
            "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('x') from e",
            'File "<stdin>", line 2, in <module>\nZeroDivisionError: division by zero\n\n'
            "The above exception was the direct cause of the following exception:\n\n"
            '  File "<stdin>", line 4, in <module>\nValueError: x',
            "ValueError: x",
        ),
        (
            "1 +",
            'File "<stdin>", line 1\n    1 +\n       ^\nSyntaxError: invalid syntax',
            "SyntaxError: invalid syntax (<stdin>, line 1)",
        ),
        (
            "\nif True:\nx = 1",
            'File "<stdin>", line 3\n    x = 1\n    ^\n'
            "IndentationError: expected an indented block after 'if' statement on line 2",
            "IndentationError: expected an indented block after 'if' statement on line 2 "
            "(<stdin>, line 3)",
        ),
        (
            "import sys; sys.exit(3)",
            'File "<stdin>", line 1, in <module>\nSystemExit: 3',
            "SystemExit: 3",
        ),
        ("quit()", 'File "<stdin>", line 1, in <module>\nSystemExit', "SystemExit"),
        (
            "!ls",
            'File "<stdin>", line 1\n    !ls\n    ^\nSyntaxError: invalid syntax',
            "SyntaxError",
        ),
        (
            "%time 1",
            'File "<stdin>", line 1\n    %time 1\n    ^\nSyntaxError: invalid',
            "SyntaxErr",
        ),
        ("print?", 'File "<stdin>", line 1\n    print?\n         ^\nSyntaxError: inv', "SyntaxErr"),
        ("input()", "in <module>\n", "StdinNotImplementedError: "),
        ("%set_log_level LOUD", "in <module>\nValueError: LOUD: use one of ", "ValueError: LOUD"),
    ],
)
def test_an_error_looks_as_it_does_on_athena(
    driver: Driver, code: str, stderr: str, reason: str
) -> None:
    done = driver.run(code)
    assert done.outcome == "failed"
    assert stderr in done.stderr.strip()
    if "use one of" not in stderr and "input" not in code:
        assert done.stderr.strip().startswith(stderr)
    assert "Traceback" not in done.stderr
    assert done.reason.startswith(reason)
    assert driver.run("6 * 7").value == "42"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("spark.sql('select nope')", "AnalysisException: [UNRESOLVED_COLUMN"),
        ("%%sql\nselec 1", "ParseException: \n[PARSE_SYNTAX_ERROR]"),
        ("spark.range(1).selectExpr('assert_true(id > 5)').collect()", "USER_RAISED_EXCEPTION"),
        (
            "from pyspark.sql.functions import udf\n"
            "spark.range(1).select(udf(lambda i: 1 // i)('id')).collect()",
            "ZeroDivisionError: ",
        ),
    ],
)
def test_an_error_of_spark_shows_no_frames_of_its_machinery(
    driver: Driver, code: str, error: str
) -> None:
    done = driver.run(code)
    assert done.outcome == "failed"
    assert done.stderr.startswith('  File "<stdin>", line ')
    assert error in done.stderr
    assert "py4j" not in done.stderr.split("JVM stacktrace")[0]
    assert '"level": "ERROR"' not in done.stderr
    assert len(done.reason) <= 500


def test_an_error_with_text_that_is_no_text_is_told(driver: Driver) -> None:
    done = driver.run("raise ValueError('a \\udc80 b')")
    assert (done.outcome, done.reason) == ("failed", "ValueError: a ? b")
    assert done.stderr.endswith("ValueError: a ? b\n")


@pytest.mark.parametrize("ending", ["", "\n1 / 0", "\nawait asyncio.sleep(0)"])
@pytest.mark.parametrize(
    "replacement",
    [
        "None",
        "type('W', (), {'write': lambda self, text: len(text)})()",
        "open('/dev/null')",
        "(lambda closed: (closed.close(), closed)[1])(io.StringIO())",
        "io.StringIO()",
    ],
)
def test_a_stream_can_be_replaced_by_anything(
    driver: Driver, replacement: str, ending: str
) -> None:
    replace = f"sys.stdout = {replacement}\nsys.stderr = {replacement}"
    done = driver.run(f"import asyncio, io, sys\nprint('begun')\n{replace}{ending}")
    assert done.stdout == "begun\n"
    assert done.reason == ("ZeroDivisionError: division by zero" if "/" in ending else "")
    assert done.seconds < 15
    # Whatever works stays: it is the user's.
    restored = "sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__\n"
    again = driver.run((restored if replacement == "io.StringIO()" else "") + "print('again')")
    assert again.stdout == "again\n"


def test_a_stream_in_front_of_the_kernels_own_stays(driver: Driver) -> None:
    driver.run(
        "import sys\n"
        "class Loud:\n"
        "    def write(self, text):\n        return sys.__stdout__.write(text.upper())\n"
        "    def flush(self):\n        sys.__stdout__.flush()\n"
        "sys.stdout = Loud()"
    )
    assert driver.run("print('hello')").stdout == "HELLO\n"
    assert driver.run("sys.stdout = sys.__stdout__\nprint('hello')").stdout == "hello\n"


def test_a_block_that_takes_the_reply_away_ends_all_the_same(driver: Driver) -> None:
    done = driver.run(
        "kernel = get_ipython().kernel\nclean = kernel.finish_metadata\n"
        "def broken(*_):\n    kernel.finish_metadata = clean\n    raise OSError\n"
        "kernel.finish_metadata = broken"
    )
    assert done.outcome == "failed"
    assert done.reason.startswith("NoReply: The Python kernel ended the block without a result")
    assert 4 < done.seconds < 30
    assert driver.run("1 + 1").value == "2"


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"spark.task.cpus": "99"}, "number of cpus per task = 99"),
        ({"spark.serializer": "not.there.Serializer"}, "not.there.Serializer"),
    ],
)
def test_why_spark_does_not_start_is_said(
    start: Start, properties: dict[str, str], said: str
) -> None:
    driver = start(properties={"spark.master": "local[1]"} | properties)
    reason = driver.server.first(Failed).reason
    assert reason.startswith("Spark could not be started: ")
    assert said in reason
    assert "Py4J" not in reason
    driver.agent.wait(30)


def test_names_stay_from_block_to_block(driver: Driver) -> None:
    driver.run("from datetime import date\nkept = 41")
    driver.run("spark.range(3).createOrReplaceTempView('kept_view')")
    assert driver.run("kept + 1").value == "42"
    assert driver.run("spark.table('kept_view').count()").value == "3"
    assert driver.run("kept").stdout == ""


def test_the_last_expression_is_the_result(driver: Driver) -> None:
    done = driver.run("1\n'two'")
    assert done.results == [
        {"output_type": "execute_result", "data": {"text/plain": "'two'"}, "metadata": {}}
    ]


@pytest.mark.parametrize(
    "last_line", ["plt.show()", "%matplot plt", "pass  # shown at the end of the block"]
)
def test_a_figure_is_a_png(driver: Driver, last_line: str) -> None:
    done = driver.run(f"import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])\n{last_line}")
    (shown,) = done.results
    assert base64.b64decode(shown["data"]["image/png"]).startswith(b"\x89PNG")
    assert done.stderr == ""


def test_tables_and_plotly_figures_have_html(driver: Driver) -> None:
    table = driver.run("df = spark.createDataFrame([(1, 'x')], ['n', 'letter'])\n%table df")
    assert "<table" in table.results[0]["data"]["text/html"]
    figure = driver.run(
        "import plotly.graph_objects as go\nfig = go.Figure(go.Bar(y=[1]))\n%plotly fig"
    )
    assert set(figure.results[0]["data"]) >= {"text/html", "application/vnd.plotly.v1+json"}


def test_output_beyond_the_limit_is_cut_and_says_so(driver: Driver) -> None:
    done = driver.run(
        "import sys\nprint('é' * 200_000)\nprint('x' * 200_000, file=sys.stderr)\n1/0"
    )
    assert done.outcome == "failed"
    assert done.stdout.endswith("é\n[Output cut after 100000 bytes.]\n")
    assert len(done.stdout.encode()) < 100_100
    assert "[Output cut after 100000 bytes.]\n" in done.stderr
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_a_progress_bar_keeps_its_last_drawing(driver: Driver) -> None:
    done = driver.run(
        "import sys\nfor i in range(101):\n    sys.stderr.write(f'\\r{i}%')\n"
        "sys.stderr.write('\\ndone\\n')"
    )
    assert done.stderr == "100%\ndone\n"


def test_output_is_there_while_the_block_runs(driver: Driver) -> None:
    running = driver.start(
        "import pathlib, time\nprint('begun', flush=True)\n"
        "while not pathlib.Path('go-on').exists():\n    time.sleep(0.01)"
    )
    driver.until_stdout(running, "begun\n")
    (driver.run_dir / "work" / "go-on").touch()
    assert driver.end(running).outcome == "completed"


def test_a_thread_that_speaks_too_late_does_no_harm(driver: Driver) -> None:
    driver.run(
        "import threading, time\n"
        "def speak():\n    time.sleep(0.5)\n    print('late')\n"
        "late = threading.Thread(target=speak)\nlate.start()"
    )
    assert driver.run("late.join()").outcome == "completed"


def test_a_block_that_was_seen_is_not_run_again(driver: Driver) -> None:
    driver.run("runs = 0")
    first = driver.start("runs += 1")
    driver.end(first)
    again = Run(
        calculation_id=first,
        code="runs += 1",
        output_dir=str(driver.output_dir(first)),
        buckets={},
    )
    driver.server.send(again)
    assert driver.run("runs").value == "1"


def test_outputs_without_a_place_fail_the_block_and_not_the_session(driver: Driver) -> None:
    run = Run(calculation_id="full", code="print('x')", output_dir="/dev/full/x", buckets={})
    driver.server.send(run)
    ended = driver.server.first(Ended, calculation_id="full")
    assert ended.outcome == "failed"
    assert ended.reason == (
        "The calculation's output could not be stored: "
        "'full' is a link or a file where a folder should be."
    )
    assert driver.run("1").outcome == "completed"


def test_a_block_that_failed_by_itself_says_too_that_its_outputs_are_not_there(
    driver: Driver,
) -> None:
    run = Run(calculation_id="both", code="1/0", output_dir="/dev/full/x", buckets={})
    driver.server.send(run)
    assert driver.server.first(Ended, calculation_id="both").reason == (
        "ZeroDivisionError: division by zero. The calculation's output could not be stored: "
        "'full' is a link or a file where a folder should be."
    )


def test_a_small_block_waits_for_no_round_of_looks(driver: Driver) -> None:
    assert min(driver.run("1+1").seconds for _ in range(20)) < 0.5
