"""The server's keys: made at the first start, kept in one file that only its owner may read."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

#: In the data directory.
FILE: Final = "credentials.json"
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class BadCredentials(Exception):
    """The file of the keys cannot be read as such; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The first key, and the secret behind the server's own tokens."""

    access_key_id: str
    secret_access_key: str
    server_secret: str

    def key_for(self, purpose: str) -> bytes:
        """A key of its own for each purpose."""
        return hmac.new(self.server_secret.encode(), purpose.encode(), hashlib.sha256).digest()


def load(data_dir: Path) -> Credentials | None:
    """The keys of a data directory; None when its server has never started."""
    try:
        return Credentials(**json.loads((data_dir / FILE).read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise BadCredentials(
            f"{data_dir / FILE} is damaged. Restore it; or remove it, and the next start makes "
            "new keys, which every client then needs."
        ) from error


def load_or_create(data_dir: Path) -> Credentials:
    """The keys; a first call makes them. Two servers that start at once get the same ones."""
    known = load(data_dir)
    if known is not None:
        return known
    new = Credentials(*new_pair(), secrets.token_urlsafe(32))
    with _written(data_dir, new) as aside:
        try:
            os.link(aside, data_dir / FILE)
        except FileExistsError:
            return load_or_create(data_dir)
    return new


def new_pair() -> tuple[str, str]:
    """The id of a new access key, and its secret."""
    # Looks like AWS's, so that tools which check the form take it.
    key_id = "AKIA" + "".join(secrets.choice(_ALPHABET) for _ in range(16))
    return key_id, secrets.token_urlsafe(30)


def replace_file(data_dir: Path, new: Credentials) -> None:
    """Put other keys in the place of those of a data directory: all of them or none."""
    with _written(data_dir, new) as aside:
        aside.rename(data_dir / FILE)


def stamp(data_dir: Path) -> tuple[int, ...]:
    """What changes whenever the file is replaced or written; empty when there is none."""
    try:
        found = (data_dir / FILE).stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def made_at(data_dir: Path) -> datetime:
    """When the first key was made."""
    return datetime.fromtimestamp((data_dir / FILE).stat().st_mtime, UTC)


@contextmanager
def _written(data_dir: Path, new: Credentials) -> Iterator[Path]:
    """The keys in a file beside the real one, on disk, readable for its owner only."""
    aside = data_dir / f"{FILE}.{secrets.token_hex(4)}"
    descriptor = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(new), file)
            file.flush()
            os.fsync(file.fileno())
        yield aside
    finally:
        aside.unlink(missing_ok=True)
