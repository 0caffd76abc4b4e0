"""The server's keys: made at the first start, kept in one file that only its owner may read."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

_FILE: Final = "credentials.json"
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class BadCredentials(Exception):
    """The file of the keys cannot be read as such; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The key pair of the API's caller, and the secret behind the server's own tokens."""

    access_key_id: str
    secret_access_key: str
    server_secret: str

    def secret_of(self, access_key_id: str) -> str | None:
        """The secret of an access key; None for one that is not ours."""
        return self.secret_access_key if access_key_id == self.access_key_id else None

    def key_for(self, purpose: str) -> bytes:
        """A key of its own for each purpose."""
        return hmac.new(self.server_secret.encode(), purpose.encode(), hashlib.sha256).digest()


def load(data_dir: Path) -> Credentials | None:
    """The keys of a data directory; None when its server has never started."""
    try:
        return Credentials(**json.loads((data_dir / _FILE).read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise BadCredentials(
            f"{data_dir / _FILE} is damaged. Restore it; or remove it, and the next start makes "
            "new keys, which every client then needs."
        ) from error


def load_or_create(data_dir: Path) -> Credentials:
    """The keys; a first call makes them. Two servers that start at once get the same ones."""
    known = load(data_dir)
    if known is not None:
        return known
    new = Credentials(
        # Looks like AWS's, so that tools which check the form take it.
        "AKIA" + "".join(secrets.choice(_ALPHABET) for _ in range(16)),
        secrets.token_urlsafe(30),
        secrets.token_urlsafe(32),
    )
    aside = data_dir / f"{_FILE}.{secrets.token_hex(4)}"
    descriptor = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(new), file)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(aside, data_dir / _FILE)
    except FileExistsError:
        return load_or_create(data_dir)
    finally:
        aside.unlink()
    return new
