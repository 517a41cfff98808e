"""Sealed secrets: read back only at their own place, and never in plain sight."""

from pathlib import Path

import pytest

from webapp.foundation import key_ring
from webapp.foundation.crypto import DecryptionError, decrypt, encrypt
from webapp.foundation.key_ring import MasterKey


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_STATE_DIR", str(tmp_path))
    key_ring.store([MasterKey(bytes(range(32)))])


def test_a_secret_comes_back_at_its_place() -> None:
    sealed = encrypt("hf_secret ü", "hub:1:token")
    assert "hf_secret" not in sealed
    assert decrypt(sealed, "hub:1:token") == "hf_secret ü"


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    assert encrypt("a", "hub:1:token") != encrypt("a", "hub:1:token")


def test_a_swapped_secret_is_refused() -> None:
    with pytest.raises(DecryptionError):
        decrypt(encrypt("a", "hub:1:token"), "hub:2:token")


@pytest.mark.parametrize("text", ["", "s1:", "s1:AAAA", "s0:AAAA", "plain text", "s1:ä"])
def test_what_was_never_sealed_is_refused(text: str) -> None:
    with pytest.raises(DecryptionError):
        decrypt(text, "hub:1:token")


def test_another_master_key_reads_nothing() -> None:
    sealed = encrypt("a", "hub:1:token")
    key_ring.store([MasterKey(bytes(32))])
    with pytest.raises(DecryptionError):
        decrypt(sealed, "hub:1:token")
