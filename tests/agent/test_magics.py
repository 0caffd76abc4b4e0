"""Which blocks are magics, and that every other block stays as it is."""

from __future__ import annotations

import ast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sparkowl.agent.magics import LINE_MAGICS, transform


def line(name: str, arguments: str = "") -> str:
    return f"get_ipython().run_line_magic('{name}', '{arguments}')\n"


@pytest.mark.parametrize(
    ("block", "python"),
    [
        ("%status", line("status")),
        ("  %status", None),
        ("x = 1\n%status\ny = 2", f"x = 1\n{line('status')}y = 2\n"),
        ("%set_log_level INFO", line("set_log_level", "INFO")),
        ("%matplot plt", line("matplot", "plt")),
        ("%table df\n%plotly fig", line("table", "df") + line("plotly", "fig")),
        ("if True:\n    %status\n    pass", f"if True:\n    {line('status')}    pass\n"),
        ("%pip install x", line("pip", "install x")),
        ("x = 1\n!pip install x", f"x = 1\n{line('pip', 'install x')}"),
        ("  !pip3 install x\n", None),
        ("%%sql\nselect 1", "get_ipython().run_cell_magic('sql', '', '\\nselect 1')\n"),
        ("\n  \n%%sql\nselect 1", "\n\nget_ipython().run_cell_magic('sql', '', '\\nselect 1')\n"),
        ("%%sql select 1", "get_ipython().run_cell_magic('sql', '', ' select 1')\n"),
        ("%%sql", "get_ipython().run_cell_magic('sql', '', '')\n"),
    ],
)
def test_a_magic_becomes_python(block: str, python: str | None) -> None:
    found = transform(block)
    if python is not None:
        assert found == python
    assert "run_" in found


@pytest.mark.parametrize(
    "block",
    [
        "",
        "\n\nfoobar",
        "print('x')\n\n\n",
        "text = '''\n%status\n'''",
        "x = (10\n%status)",
        "x = 10 \\\n%status",
        "x = 10 %status",
        "# %status",
        "%statusx",
        "% status",
        "%time 1",
        "%%time\n1",
        "!ls",
        "! pip install x",
        "!pipx install x",
        "x = '!pip install x'",
        "text = '''\n!pip install x\n'''",
        "x?",
        "?x",
        "%%sqlx\nselect 1",
        "print('first')\n%%sql\nselect 1",
        "ls",
        "a\r\nb\x0c\nc\u2028d",
    ],
)
def test_everything_else_is_taken_literally(block: str) -> None:
    assert transform(block) == block


def is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


_LINES = st.sampled_from(
    [
        "x = 1",
        "'''",
        '"""',
        "(",
        ")",
        "\\",
        "    pass",
        "if x:",
        "",
        "%status",
        "%table df",
        "# %help",
    ]
)


@given(st.one_of(st.text(), st.lists(_LINES).map("\n".join)))
@example("'''\n%status\n'''\n")
def test_plain_python_stays_literal(block: str) -> None:
    if is_python(block):
        assert transform(block) == block


@given(st.text())
def test_no_text_breaks_it(block: str) -> None:
    assert isinstance(transform(block), str)


def test_the_documented_magics() -> None:
    assert {
        "help",
        "list_sessions",
        "matplot",
        "plotly",
        "pip",
        "session_id",
        "set_log_level",
        "status",
        "table",
    } == LINE_MAGICS
