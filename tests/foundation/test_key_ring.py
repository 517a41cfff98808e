"""The file of the master keys, as one process remembers it."""

from pathlib import Path

import pytest

from webapp.foundation import key_ring


def test_what_a_process_stores_it_sees_even_if_the_file_system_shows_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks of file systems tick every few milliseconds, and numbers of files come back."""
    monkeypatch.setenv("MODELYARD_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(key_ring, "_seen", lambda where, about: (str(where), 0, 0, 0))
    first, second = key_ring.new(), key_ring.new()
    key_ring.store([first])
    assert key_ring.current() == (first,)
    key_ring.store([second])
    assert key_ring.current() == (second,)
