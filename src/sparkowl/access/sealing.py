"""Secrets at rest: AES-256-GCM under a key that is not in the database.

The key comes from ``credentials.json``, so neither file alone gives a secret. The access key's id
is bound in as associated data: a secret that is moved to another row cannot be opened.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: What the key is derived for, see :meth:`sparkowl.credentials.Credentials.key_for`.
PURPOSE: Final = "keys"

#: Says that the form is ours, and leaves room for another one later.
_FORM: Final = "1:"
#: What the standard asks for (NIST SP 800-38D, section 8.2.2).
_NONCE_BYTES: Final = 12


class CannotOpen(Exception):
    """Not sealed with this key, for this access key id."""


def seal(key: bytes, key_id: str, secret: str) -> str:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, secret.encode(), key_id.encode())
    return _FORM + b64encode(nonce + sealed).decode()


def unseal(key: bytes, key_id: str, sealed: str) -> str:
    try:
        content = b64decode(sealed.removeprefix(_FORM), validate=True)
        nonce, rest = content[:_NONCE_BYTES], content[_NONCE_BYTES:]
        return AESGCM(key).decrypt(nonce, rest, key_id.encode()).decode()
    except (InvalidTag, ValueError) as error:
        raise CannotOpen(f"The secret of {key_id} cannot be decrypted.") from error
