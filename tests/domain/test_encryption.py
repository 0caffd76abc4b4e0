"""Which encryption is promised where."""

from __future__ import annotations

import pytest

from sparkowl.domain.encryption import Encrypting, Encryption, of
from sparkowl.domain.errors import InvalidRequest

FOLDERS = Encrypting()
ENCRYPTED_DISK = Encrypting(disk=True)
SERVICE = Encrypting(service=True)
SSE_S3 = Encryption("SSE_S3")
SSE_KMS = Encryption("SSE_KMS", "key")
CSE_KMS = Encryption("CSE_KMS", "key")


@pytest.mark.parametrize("encryption", [SSE_S3, SSE_KMS, CSE_KMS])
def test_what_a_workgroup_says_is_read_as_it_was_written(encryption: Encryption) -> None:
    assert of(encryption.members) == encryption


def test_a_workgroup_may_ask_for_none() -> None:
    assert of(None) is None
    assert of({}) is None
    for rules in (FOLDERS, ENCRYPTED_DISK, SERVICE):
        rules.require(None, "etl")


@pytest.mark.parametrize(
    ("rules", "encryption"), [(SERVICE, SSE_S3), (SERVICE, SSE_KMS), (ENCRYPTED_DISK, SSE_S3)]
)
def test_what_can_be_done_is_let_through(rules: Encrypting, encryption: Encryption) -> None:
    rules.require(encryption, "etl")


@pytest.mark.parametrize(
    ("rules", "encryption", "setting"),
    [
        (FOLDERS, SSE_S3, "objects.encrypted_disk"),
        (FOLDERS, SSE_KMS, "objects.kind"),
        (ENCRYPTED_DISK, SSE_KMS, "objects.kind"),
        (FOLDERS, CSE_KMS, "SSE_S3 and SSE_KMS"),
        (ENCRYPTED_DISK, CSE_KMS, "SSE_S3 and SSE_KMS"),
        (SERVICE, CSE_KMS, "SSE_S3 and SSE_KMS"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    rules: Encrypting, encryption: Encryption, setting: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        rules.require(encryption, "etl")

    assert "EncryptionConfiguration of WorkGroup etl" in str(refused.value)
    assert encryption.option in str(refused.value)
    assert setting in str(refused.value)


def test_an_agent_is_told_in_words_of_its_own() -> None:
    assert SSE_S3.words == {"option": "SSE_S3"}
    assert SSE_KMS.words == {"option": "SSE_KMS", "kms_key": "key"}
