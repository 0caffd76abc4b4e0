"""Secrets at rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkowl.access.sealing import CannotOpen, seal, unseal

KEY, OTHER = b"k" * 32, b"o" * 32


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_can_be_opened_with_the_key_and_the_id(secret: str) -> None:
    assert unseal(KEY, "AKIA", seal(KEY, "AKIA", secret)) == secret


def test_the_same_secret_never_looks_the_same() -> None:
    assert seal(KEY, "AKIA", "secret") != seal(KEY, "AKIA", "secret")


def test_nothing_else_opens_it() -> None:
    sealed = seal(KEY, "AKIA", "secret")
    flipped = sealed[:-6] + ("A" if sealed[-6] != "A" else "B") + sealed[-5:]

    for key, key_id, given_ in [
        (OTHER, "AKIA", sealed),
        (KEY, "AKIB", sealed),
        (KEY, "AKIA", flipped),
        (KEY, "AKIA", sealed[:10]),
        (KEY, "AKIA", ""),
        (KEY, "AKIA", "no base64 at all"),
    ]:
        with pytest.raises(CannotOpen) as refused:
            unseal(key, key_id, given_)
        assert "secret" not in str(refused.value).replace("The secret of", "")
