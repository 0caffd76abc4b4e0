"""The magics that Athena documents, and nothing else: any other block is plain Python, literally.

Unlike a notebook front end, an API must not guess: ``!ls``, ``x?`` and ``%time`` are syntax errors
here as they are for Python, and blank lines keep their place so that line numbers are right. Only
``%pip`` and ``!pip`` are known, to say what there is instead.
:func:`transform` finds the magics by tokens, so that a ``%status`` inside a string or an expression
stays what it is. Lives in the kernel.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from IPython.core.inputtransformer2 import EscapedCommand, make_tokens_by_line

_HELP: Final = {
    "%%sql": "Run the SQL statement below the line and show what it returns.",
    "%help": "Describe the magics.",
    "%list_sessions": "List the sessions of this notebook.",
    "%session_id": "Print the id of the session.",
    "%set_log_level LEVEL": "Set Spark's log level: DEBUG, ERROR, FATAL, INFO or WARN.",
    "%status": "Print the session's id, state, workgroup, engine version and start time.",
    "%table df": "Show a DataFrame as a table.",
    "%matplot plt": "Show a matplotlib figure.",
    "%plotly fig": "Show a plotly figure.",
    "%pip": "Say where packages come from; it installs nothing.",
}
LINE_MAGICS: Final = frozenset(
    usage.split()[0].removeprefix("%") for usage in _HELP if not usage.startswith("%%")
)
_LOG_LEVELS: Final = frozenset({"DEBUG", "ERROR", "FATAL", "INFO", "WARN", "WARNING"})
_PIP: Final = (
    "%pip is not supported in a session, as on Athena. sc.addPyFile('s3://...') brings a module or "
    "a zip file of modules along; whoever runs the server can give the workgroup a requirements "
    "file."
)
_PIP_WITH_FILE: Final = (
    "%pip is not supported in a session, as on Athena. The packages of this workgroup are those of "
    "its requirements file: whoever runs the server can add to it, for sessions that start then."
)
#: More rows than anybody reads; a frame may have billions.
_TABLE_ROWS: Final = 1000

_SQL: Final = re.compile(
    r"(?P<blank>\s*\n|[ \t]*)%%sql(?P<sql>(?:[ \t]+[^\n]*|[ \t]*)(?:\n.*)?)\Z", re.S
)
_LOOKS_LIKE_MAGIC: Final = re.compile(
    rf"^[ \t]*(?:%(?:{'|'.join(sorted(LINE_MAGICS))})|!pip3?)\b", re.M
)
#: What else people write for the magic, which answers for it: a syntax error would not say why.
_SHELL_PIP: Final = re.compile(r"\A!pip3?\b")


def transform(cell: str) -> str:
    """The block as Python: the same text, unless it uses a magic."""
    sql = _SQL.match(cell)
    if sql:
        lines_before = "\n" * sql["blank"].count("\n")
        return f"{lines_before}get_ipython().run_cell_magic('sql', '', {sql['sql']!r})\n"
    if not _LOOKS_LIKE_MAGIC.search(cell):
        return cell
    lines = re.findall(r"[^\n]*\n|[^\n]+\Z", cell if cell.endswith("\n") else cell + "\n")
    # One at a time: a magic's arguments are not Python, and confuse the tokens that follow.
    magics = 0
    while (found := _Magic.find(make_tokens_by_line(lines))) is not None:
        lines = found.transform(lines)
        magics += 1
    return "".join(lines) if magics else cell


class _Magic(EscapedCommand):  # type: ignore[misc]  # IPython is not typed
    """IPython's finder of escaped commands, for our names only."""

    @classmethod
    def find(cls, tokens_by_line: Any) -> _Magic | None:
        for line in tokens_by_line:
            words = [t for t in line if t.string.strip()]
            if len(words) < 2 or words[0].end != words[1].start:
                continue
            sign, name = words[0].string, words[1].string
            if (sign == "%" and name in LINE_MAGICS) or (sign == "!" and name in ("pip", "pip3")):
                return cls(words[0].start)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        line = lines[self.start_line]
        before, command = line[: self.start_col], line[self.start_col :]
        lines[self.start_line] = before + _SHELL_PIP.sub("%pip", command, count=1)
        transformed: list[str] = super().transform(lines)
        return transformed


def register(shell: Any, session_file: Path) -> None:
    """Give the shell the magics. ``session_file`` is where the agent writes the session's facts."""
    magics = _Magics(shell, session_file)
    for name in LINE_MAGICS:
        shell.register_magic_function(getattr(magics, name), "line", name)
    shell.register_magic_function(magics.sql, "cell", "sql")


class _Magics:
    """One method per magic, under the magic's name."""

    def __init__(self, shell: Any, session_file: Path) -> None:
        self._shell = shell
        self._session_file = session_file

    def sql(self, _line: str, cell: str) -> None:
        _spark().sql(cell.strip()).show()

    def help(self, _line: str) -> None:
        width = max(map(len, _HELP))
        _print("\n".join(f"{usage:<{width}}  {meaning}" for usage, meaning in _HELP.items()))

    def session_id(self, _line: str) -> None:
        _print(self._session()["session_id"])

    def status(self, _line: str) -> None:
        session = self._session()
        _print(
            f"Session ID: {session['session_id']}\n"
            # What asks is a calculation, so the session is busy with it.
            "State: BUSY\n"
            f"Workgroup: {session['work_group']}\n"
            f"Engine version: {session['engine_version']}\n"
            f"Start time: {session['started_at']}"
        )

    def list_sessions(self, _line: str) -> None:
        session = self._session()
        rows = [
            ("Session ID", "Status", "Start time", "End time"),
            (session["session_id"], "BUSY", session["started_at"], "-"),
        ]
        _print("\n".join(f"{a:<36}  {b:<6}  {c:<32}  {d}" for a, b, c, d in rows))

    def set_log_level(self, line: str) -> None:
        level = line.strip()
        if level not in _LOG_LEVELS:
            raise ValueError(f"{level or 'No level'}: use one of {', '.join(sorted(_LOG_LEVELS))}.")
        _spark().sparkContext.setLogLevel("WARN" if level == "WARNING" else level)

    def pip(self, _line: str) -> None:
        if self._session().get("packages"):
            raise RuntimeError(_PIP_WITH_FILE)
        raise RuntimeError(_PIP)

    def table(self, line: str) -> None:
        frame = self._value(line)
        if hasattr(frame, "toPandas"):
            frame = frame.limit(_TABLE_ROWS).toPandas()
        self._display({"text/html": frame.to_html(), "text/plain": frame.to_string()})

    def matplot(self, line: str) -> None:
        from IPython.display import display
        from matplotlib import pyplot

        plot = self._value(line)
        figure = plot.gcf() if hasattr(plot, "gcf") else getattr(plot, "figure", plot)
        display(figure)
        # Else the kernel would show it a second time at the end of the block.
        pyplot.close(figure)

    def plotly(self, line: str) -> None:
        figure = self._value(line)
        self._display(
            {
                "application/vnd.plotly.v1+json": json.loads(figure.to_json()),
                "text/html": figure.to_html(full_html=False, include_plotlyjs="cdn"),
                "text/plain": "Figure",
            }
        )

    def _value(self, expression: str) -> Any:
        if not expression.strip():
            raise ValueError("This magic needs a name: what shall it show?")
        return self._shell.ev(expression.strip())

    def _display(self, bundle: dict[str, Any]) -> None:
        self._shell.display_pub.publish(bundle)

    def _session(self) -> dict[str, str]:
        try:
            session: dict[str, str] = json.loads(self._session_file.read_text())
        except FileNotFoundError:
            raise LookupError("This driver does not belong to a session yet.") from None
        return session


def _spark() -> Any:
    """The session as it is now: user code may have stopped the first one and made another."""
    from pyspark.sql import SparkSession

    return SparkSession.builder.getOrCreate()


def _print(text: str) -> None:
    print(text)  # noqa: T201 - a magic's output is the block's standard output
