"""The three outputs of a calculation: ``stdout``, ``stderr`` and ``result.json``.

They are written to the driver's spool and appear at once where the server wants them, by a hard
link (a copy where the two places do not share a file system). User code may write there, so it is a
:class:`~sparkowl.agent.landing.Landing`. All three exist from the start, are complete at the end,
and are bounded in size. That a disk is full is remembered, never raised: the calculation fails, the
session lives. What was spooled and cannot be stored stays in the spool, and the server tries once
more when the driver ends.
"""

from __future__ import annotations

import errno
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sparkowl.agent.landing import Landing

_LINE_PARTS: Final = re.compile(r"\r\n|\r|\n|[^\r\n]+")
#: An error's text is stored also when the output before it was cut: it is what the user needs.
_ERROR_LIMIT_BYTES: Final = 64 << 10
#: So much is said of results that are left out; a block may display for ever.
_NOTES_LIMIT_BYTES: Final = 16 << 10
_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
#: The server's database may be on the disk that a block filled, and has to note how it ended.
_GIVEN_BACK_BYTES: Final = 1 << 20


class Stream:
    """One text file that is cut after a limit, in whole characters, with a last line saying so."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self._limit = limit_bytes
        self._size = 0
        self._cut = False
        # Append mode: what others do to the file cannot leave holes in it.
        self._file = path.open("ab", buffering=0)

    def write(self, text: str) -> None:
        if self._cut:
            return
        # A lone surrogate is possible in Python text, and not in UTF-8.
        content = text.encode("utf-8", "replace")
        room = self._limit - self._size
        if len(content) <= room:
            self._append(content)
            return
        self._cut = True
        whole = content[:room].decode("utf-8", "ignore").encode()
        self._append(whole)
        self._append(f"\n[Output cut after {self._limit} bytes.]\n".encode())

    def write_error(self, text: str) -> None:
        self._append(text.encode("utf-8", "replace")[-_ERROR_LIMIT_BYTES:])

    def _append(self, content: bytes) -> None:
        left = memoryview(content)
        try:
            while left:
                written = self._file.write(left)
                self._size += written
                left = left[written:]
        except OSError as error:
            if error.errno in _FULL:
                with suppress(OSError):
                    self.truncate(max(0, self._size - _GIVEN_BACK_BYTES))
            raise

    def truncate(self, size: int) -> None:
        self._file.truncate(size)
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    @property
    def is_cut(self) -> bool:
        return self._cut

    def close(self) -> None:
        self._file.close()


class Folded(Stream):
    """A stream in which a carriage return replaces the line so far, as a terminal shows it.

    Progress bars redraw themselves with it, thousands of times; only the last drawing is worth
    keeping. The line in progress is in the file too, so that a bar can be watched.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        super().__init__(path, limit_bytes)
        self._line_starts_at = 0
        #: A carriage return was seen, and what follows decides what it means.
        self._returned = False

    def write(self, text: str) -> None:
        for part in _LINE_PARTS.findall(text):
            if part == "\r":
                self._returned = True
            elif part in ("\n", "\r\n"):
                self._returned = False
                super().write("\n")
                self._line_starts_at = self.size
            else:
                self._draw(part)

    def _draw(self, part: str) -> None:
        if self._returned and not self.is_cut:
            self.truncate(self._line_starts_at)
        self._returned = False
        super().write(part)


class Outputs:
    """A calculation's outputs while it runs."""

    def __init__(self, spool: Path, output_dir: Path | None, limit_bytes: int) -> None:
        """``output_dir``: None where somebody else takes them from the spool."""
        self._spool = spool
        self._output_dir = output_dir
        self._landing: Landing | None = None
        self._limit = limit_bytes
        #: Why something could not be stored, once it could not.
        self.trouble = ""
        #: The spool cannot be written any more. Where only the storing fails, it goes on.
        self._broken = False
        self._streams: dict[str, Stream] = {}
        self._copied: set[str] = set()
        self._displayed: list[dict[str, Any]] = []
        self._displayed_bytes = 0
        self._notes_bytes = 0
        self._clear_before_next = False
        self._guard(self._open)

    def _open(self) -> None:
        self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, shape in (("stdout", Stream), ("stderr", Folded)):
            self._streams[name] = shape(self._spool / name, self._limit)
        try:
            if self._output_dir is not None:
                self._landing = Landing(self._output_dir)
        except OSError as error:
            self._remember(error)
        for name in self._streams:
            self._show(name)
        # Already now: whatever happens from here on, all three can be read.
        self._write_results()

    def text(self, name: str, text: str) -> None:
        """Standard output or standard error of the block."""
        self._guard(lambda: self._streams[name].write(text))

    def error(self, content: dict[str, Any]) -> None:
        """The error that ended the block: the end of stderr, and one of the results."""
        lines = "\n".join(content["traceback"])
        self._guard(lambda: self._streams["stderr"].write_error(lines + "\n"))
        self._keep({"output_type": "error"} | content)

    def display(self, kind: str, content: dict[str, Any]) -> None:
        """A MIME bundle: the last expression's value (``execute_result``) or a displayed thing."""
        if self._clear_before_next:
            self.clear(wait=False)
        display_id = content.get("transient", {}).get("display_id")
        bundle = {"output_type": kind, "data": content["data"], "metadata": content["metadata"]}
        if kind == "update_display_data":
            self._update(display_id, content)
        else:
            self._keep(bundle, display_id)

    def clear(self, *, wait: bool) -> None:
        """``clear_output()``: forget what was displayed, at once or when the next comes."""
        self._clear_before_next = wait
        if not wait:
            self._displayed.clear()
            self._displayed_bytes = self._notes_bytes = 0

    def _update(self, display_id: str | None, content: dict[str, Any]) -> None:
        for shown in self._displayed:
            if display_id is not None and shown.get("_id") == display_id:
                new = {"data": content["data"], "metadata": content["metadata"]}
                old = {"data": shown["data"], "metadata": shown["metadata"]}
                if self._displayed_bytes - _size(old) + _size(new) > self._limit:
                    new = self._left_out(_size(new))
                self._displayed_bytes += _size(new) - _size(old)
                shown |= new

    def _keep(self, bundle: dict[str, Any], display_id: str | None = None) -> None:
        size = _size(bundle)
        if self._displayed_bytes + size > self._limit:
            bundle = {"output_type": "display_data"} | self._left_out(size)
            self._notes_bytes += _size(bundle)
            if self._notes_bytes > _NOTES_LIMIT_BYTES:
                return
            size = 0
        self._displayed_bytes += size
        self._displayed.append(bundle | {"_id": display_id})

    def _left_out(self, size: int) -> dict[str, Any]:
        said = f"[A result of {size} bytes is left out: the limit is {self._limit}.]"
        return {"data": {"text/plain": said}, "metadata": {}}

    def refresh(self) -> None:
        """Bring copies up to date, where the outputs could not be linked."""
        for name in self._copied:
            self._copy(name)

    def close(self) -> None:
        """Complete all three. Whatever could not be stored is in :attr:`trouble`; without trouble
        the spool has served."""
        for stream in self._streams.values():
            stream.close()
        self.refresh()
        self._guard(self._write_results)
        if self._landing is not None:
            self._landing.close()

    def _write_results(self) -> None:
        shown = [{k: v for k, v in one.items() if k != "_id"} for one in self._displayed]
        being_written = self._spool / "result.json.part"
        try:
            being_written.write_text(json.dumps({"outputs": shown}))
            being_written.replace(self._spool / "result.json")
        except OSError:
            being_written.unlink(missing_ok=True)
            raise
        # Complete before it appears: a reader sees all of it or nothing.
        self._show("result.json")

    def _show(self, name: str) -> None:
        """Let the spooled file appear in the output folder."""
        if self._landing is None:
            return
        try:
            self._landing.link(self._spool / name, name)
        except OSError:
            self._copied.add(name)
            self._copy(name)

    def _copy(self, name: str) -> None:
        if self._landing is None:
            return
        try:
            self._landing.copy(self._spool / name, name)
        except OSError as error:
            self._remember(error)

    def _guard(self, act: Any) -> None:
        if self._broken:
            return
        try:
            act()
        except OSError as error:
            self._broken = True
            self._remember(error)

    def _remember(self, error: OSError) -> None:
        """The first trouble is the cause; later ones are consequences."""
        reason = error.strerror or str(error)
        self.trouble = self.trouble or f"The calculation's output could not be stored: {reason}."


def _size(value: Any) -> int:
    return len(json.dumps(value))
