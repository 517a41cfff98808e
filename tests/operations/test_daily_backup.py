"""The backup that is taken by itself: once a day, tried again after a failure, the last N kept."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from webapp.operations import backups
from webapp.operations.models import BackupState

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("places")]


def test_a_daily_backup_is_begun_once_a_day_by_one_sweep() -> None:
    now = timezone.now()
    row = backups.begin_scheduled(now)
    assert row is not None
    assert backups.begin_scheduled(now) is None
    backups.carry_out_scheduled(row)
    assert Path(row.path).exists()
    assert backups.begin_scheduled(now + timedelta(hours=23)) is None
    assert backups.begin_scheduled(now + timedelta(hours=25)) is not None


def test_a_failed_daily_backup_is_said_and_tried_again_after_an_hour(places: Path) -> None:
    assert backups.warning() is None
    (places / "backups").write_text("a file where the folder should be")
    now = timezone.now()
    row = backups.begin_scheduled(now)
    assert row is not None
    with pytest.raises(backups.BackupFailed):
        backups.carry_out_scheduled(row)
    assert "The last daily backup failed" in (backups.warning() or "")
    assert backups.begin_scheduled(now + timedelta(minutes=50)) is None
    again = backups.begin_scheduled(now + timedelta(minutes=70))
    assert again is not None
    (places / "backups").unlink()
    backups.carry_out_scheduled(again)
    assert backups.warning() is None


def test_a_daily_backup_that_was_killed_does_not_block_the_next() -> None:
    now = timezone.now()
    row = backups.begin_scheduled(now)
    assert row is not None
    assert backups.begin_scheduled(now + timedelta(hours=5)) is None
    assert backups.begin_scheduled(now + timedelta(hours=31)) is not None
    row.refresh_from_db()
    assert row.state == BackupState.FAILED


def test_the_last_n_daily_backups_are_kept_and_nothing_else_is_touched(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_BACKUP_KEEP", "2")
    folder = places / "backups"
    folder.mkdir()
    names = [f"modelyard-2026110{day}-030000-daily.tar.gz" for day in range(1, 6)]
    others = [
        "modelyard-20261101-120000.tar.gz",
        "modelyard-notes-daily.tar.gz",
        "modelyard-20261101-120000-before-upgrade.tar.gz",
    ]
    for name in names + others:
        (folder / name).write_text("x")
    backups.forget_old()
    assert {path.name for path in folder.iterdir()} == {*names[-2:], *others}


def test_backups_are_switched_off_by_keeping_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_BACKUP_KEEP", "0")
    assert backups.begin_scheduled() is None
