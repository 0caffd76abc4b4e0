"""The line between a server and the keeper: JSON objects, one a line, over a Unix socket that only
the server's user can open, and each with the keeper's word.

The word lies beside the socket: Landlock keeps user code of the same POSIX user from reading that
file, but not from connecting to a socket whose path it can guess. An order without it does nothing.

Each is answered by one. ``{"do": "hello", "spec": <digest>}`` makes a connection a server's; while
one is open the keeper stays. Answered with ``{"ok": false}`` where the keeper does something else
than the digest says: then it ends as soon as no server is there that it suits, and another may be
started. ``stop`` ends it unless another server is there; ``status`` tells how it is; ``backup``
copies the embedded database into a folder of its own and names that, or none.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sparkowl.metastore.names import Files

_ANSWERS_WITHIN_S: Final = 60.0


@contextmanager
def address(folder: Path) -> Iterator[str]:
    """The control socket's address while the block runs: a path of at most 107 bytes."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{Files(folder).control.name}"
    finally:
        os.close(descriptor)


def choose_word(folder: Path) -> str:
    """The word of a keeper that begins; those before it had others."""
    word, file = secrets.token_urlsafe(), Files(folder).word
    aside = file.with_suffix(".new")
    aside.unlink(missing_ok=True)
    aside.touch(mode=0o600)
    aside.write_text(word)
    aside.replace(file)
    return word


def message(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def order(folder: Path, **fields: Any) -> bytes:
    """A message to the keeper; FileNotFoundError where there has been none."""
    return message(word=Files(folder).word.read_text(), **fields)


def ask(
    folder: Path, *, within_s: float = _ANSWERS_WITHIN_S, **fields: Any
) -> dict[str, Any] | None:
    """One question of somebody who is no server; None when no keeper runs. It waits.

    OSError when the keeper does not answer.
    """
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(within_s)
        try:
            with address(folder) as at:
                line.connect(at)
            line.sendall(order(folder, **fields))
            with line.makefile("rb") as answers:
                said = answers.readline()
        except (FileNotFoundError, NotADirectoryError, ConnectionError):
            return None
        except TimeoutError:
            raise OSError(f"the catalogue's keeper does not answer within {within_s:g} s") from None
    answer: dict[str, Any] | None = json.loads(said) if said else None
    return answer
