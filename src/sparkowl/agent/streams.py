"""Standard streams and messages that survive what user code does to them. Lives in the kernel.

A user may replace ``sys.stdout`` by anything, and print text that is no text. ipykernel then fails
after the block, outside of what it guards, and never answers.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any, Final

_NAMES: Final = ("stdout", "stderr")
#: How much more of stderr is sent than is kept.
_REDRAWN: Final = 4


def pack(message: Any) -> bytes:
    """A message as JSON, for ``Session.packer``; a lone surrogate has no UTF-8 and becomes a ``?``.

    It may be in all that a block says: its output, its results, its error.
    """
    from jupyter_client.jsonutil import json_clean, json_default

    try:
        text = json.dumps(message, default=json_default, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        clean = json_clean(message)
        text = json.dumps(clean, default=json_default, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace")


def guard(kernel: Any, limit: int) -> None:
    """Let blocks replace the streams, as long as the kernel can go on with what they put there.

    ``limit`` is how many bytes of either are kept of a block; much more is not even sent.
    """
    shell = kernel.shell
    own = {name: getattr(sys, name) for name in _NAMES}
    # What `sys.stdout = sys.__stdout__` shall restore is where a block's output goes.
    for name, stream in own.items():
        setattr(sys, f"__{name}__", stream)

    mend_descriptors = _descriptors()
    forget = _remember_nothing(shell)
    begin_out = _bound(own["stdout"], limit)
    # A progress bar draws itself over and over, and only its last drawing is kept.
    begin_err = _bound(own["stderr"], _REDRAWN * limit)

    def mend() -> None:
        mend_descriptors()
        for name, stream in own.items():
            if not _works(getattr(sys, name, None)):
                setattr(sys, name, stream)
            # The kernel flushes only what stands in its place.
            stream.flush()

    execute = kernel.do_execute

    async def do_execute(*args: Any, **options: Any) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = await execute(*args, **options)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - there must be a reply
            kind = type(error).__name__
            return {"status": "error", "ename": kind, "evalue": str(error), "traceback": []}
        else:
            return reply
        finally:
            mend()
            forget()

    kernel.do_execute = do_execute
    # Both of these use the streams of the moment, before do_execute returns and after.
    shell._showtraceback = _first(mend, shell._showtraceback)
    set_parent = shell.set_parent

    def set_parents(parent: Any) -> None:
        set_parent(parent)
        begin_out()
        begin_err()
        for stream in own.values():
            # Also when another stands in front of it: a tee, for instance.
            stream.set_parent(parent)

    shell.set_parent = set_parents


def _first(do: Callable[[], None], then: Callable[..., Any]) -> Callable[..., Any]:
    def both(*args: Any, **options: Any) -> Any:
        do()
        return then(*args, **options)

    return both


def _bound(stream: Any, limit: int) -> Callable[[], None]:
    """Take from a block what is needed to see that it is over the limit, and drop the rest: nothing
    slows a block that prints faster than the agent reads, and all would wait in memory.

    What is returned begins with the next block.
    """
    write, taken = stream.write, 0

    def bounded(text: str) -> int:
        nonlocal taken
        if not isinstance(text, str):
            return int(write(text))  # which says what is wrong with it
        # Each character is a byte at least.
        room = limit + 1 - taken
        if room > 0:
            taken += len(text)
            write(text[:room])
        return len(text)

    def begin() -> None:
        nonlocal taken
        taken = 0

    stream.write = bounded
    return begin


def _remember_nothing(shell: Any) -> Callable[[], None]:
    """IPython 9 keeps all that was ever printed and shown, for a notebook that it could write. Let
    it not collect what is printed; what is returned drops the rest."""
    shell._tee = lambda channel: nullcontext()

    def forget() -> None:
        getattr(shell.history_manager, "outputs", {}).clear()

    return forget


def _descriptors() -> Callable[[], None]:
    """What opens 0, 1 and 2 again, should a block have closed them.

    Else the next thing that is opened takes their place, and gets what a program says.
    """
    spare = {number: os.dup(number) for number in (0, 1, 2)}

    def mend() -> None:
        for number, same in spare.items():
            with suppress(OSError):  # the spare one may be closed, too
                if not _is_open(number):
                    os.dup2(same, number)

    return mend


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _works(stream: Any) -> bool:
    try:
        stream.write("")
        stream.flush()
    except Exception:  # noqa: BLE001 - it is the user's: anything may come of it
        return False
    return True
