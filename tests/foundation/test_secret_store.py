"""Derived keys: the same as everybody else's HKDF, one per purpose, from a master key that is made once."""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from webapp.foundation import key_ring, secret_store
from webapp.foundation.key_ring import MasterKeyError


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MODELYARD_STATE_DIR", str(tmp_path))
    yield tmp_path


def write_key(state: Path, text: str) -> None:
    (state / "secrets").mkdir()
    (state / "secrets" / "master.key").write_text(text)


@pytest.mark.parametrize("length", [1, 16, 32, 33, 64, 100, 8160])
def test_the_derivation_is_hkdf_sha256(state: Path, length: int) -> None:
    master = bytes(range(32))
    write_key(state, base64.urlsafe_b64encode(master).decode() + "\n")
    expected = HKDF(algorithm=SHA256(), length=length, salt=None, info=b"modelyard:purpose").derive(master)
    assert secret_store.derive("purpose", length) == expected


def test_purposes_have_different_keys() -> None:
    assert secret_store.derive("one") != secret_store.derive("two")
    assert secret_store.derive("one") == secret_store.derive("one")


def test_a_missing_key_is_made_once_and_private(state: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from webapp.foundation import secret_store; print(secret_store.derive('x').hex())",
    ]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    derived = {process.communicate()[0] for process in processes}
    assert len(derived) == 1
    path = state / "secrets" / "master.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["master.key"]


@pytest.mark.parametrize("text", ["", "short", "!!!!", base64.urlsafe_b64encode(bytes(31)).decode()])
def test_a_damaged_key_is_refused_with_its_path(state: Path, text: str) -> None:
    write_key(state, text)
    with pytest.raises(MasterKeyError, match=r"master\.key"):
        secret_store.derive("x")


@pytest.mark.parametrize("length", [0, -1, 8161])
def test_lengths_hkdf_cannot_give_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="HKDF"):
        secret_store.derive("x", length)


def test_a_setting_comes_from_its_variable_or_from_the_file_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert secret_store.setting("MODELYARD_METRICS_TOKEN") is None
    (tmp_path / "token").write_text("from the file\n")
    monkeypatch.setenv("MODELYARD_METRICS_TOKEN_FILE", str(tmp_path / "token"))
    assert secret_store.setting("MODELYARD_METRICS_TOKEN") == "from the file"
    monkeypatch.setenv("MODELYARD_METRICS_TOKEN", "from the variable")
    assert secret_store.setting("MODELYARD_METRICS_TOKEN") == "from the variable"


def test_a_file_that_breaks_is_read_as_it_was_and_written_under_no_more(state: Path) -> None:
    before = key_ring.current()
    (state / "secrets" / "master.key").write_text("!!!!")
    assert key_ring.current() == before
    with pytest.raises(MasterKeyError):
        key_ring.writing()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_that_root_changes_stays_its_owners(state: Path) -> None:
    key_ring.current()
    path = state / "secrets" / "master.key"
    os.chown(path, 65534, 65534)
    key_ring.store([key_ring.new(), *key_ring.current()])
    assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) == (65534, 65534, 0o600)
