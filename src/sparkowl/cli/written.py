"""A result as a file: complete or not there, for its owner's eyes, and never over another."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sparkowl.cli.options import fail


@contextmanager
def written(file: Path, *, force: bool) -> Iterator[BinaryIO]:
    """What the block writes becomes ``file`` (mode 0600) at its end; ``-`` is standard output.

    It is written aside, so that a block that fails leaves nothing, and then takes the name: a link
    of that name is not followed. What is there already ends the command, unless ``force``.
    """
    if str(file) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if not force and os.path.lexists(file):
        fail(f"{file} is there already. Give another name, or --force.")
    aside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if force:
            aside.replace(file)
        else:
            # Fails, other than a rename, when somebody was faster.
            os.link(aside, file)
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror or error}.")
    finally:
        aside.unlink(missing_ok=True)
