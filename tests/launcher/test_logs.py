"""Log files are capped and the console cannot be driven by what is logged."""

from pathlib import Path

import pytest

from workers.launcher.logs import Logs


def test_a_file_is_rotated_at_its_cap_and_two_older_ones_are_kept(tmp_path: Path) -> None:
    logs = Logs(tmp_path, ["web"], echo=False, limit_bytes=100)
    for number in range(100):
        logs.line("web", f"line {number:04}")
    logs.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.log", "web.log.1", "web.log.2"]
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    assert logs.tail("web", 1) == ["line 0099"]


def test_an_escape_sequence_does_not_reach_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = Logs(tmp_path, ["web"], echo=True)
    monkeypatch.setattr(logs, "_is_terminal", True)
    logs.line("web", "bad \x1b]0;title\x07 words")
    logs.close()
    shown = capsys.readouterr().out
    assert "bad �]0;title� words" in shown
    assert "\x07" not in shown


def test_a_full_disk_does_not_end_the_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = Logs(tmp_path, ["web"], echo=True)
    (tmp_path / "web.log").symlink_to("/dev/full")
    logs.line("web", "still seen")
    assert "web | still seen" in capsys.readouterr().out
