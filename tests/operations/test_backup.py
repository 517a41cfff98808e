"""A backup holds everything but sessions and the key; a restore equals the original or changes nothing."""

import errno
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests.operations import filler
from tests.stage import STATE
from webapp.foundation import key_ring
from webapp.foundation.paths import REPOSITORY
from webapp.inventory import services as inventory
from webapp.inventory.models import Installation
from webapp.operations import archive, backups, heartbeats, master_key, restoring, tables
from webapp.operations.models import Backup

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("places")]


def test_a_restore_equals_the_original_row_by_row(places: Path) -> None:
    made = filler.fill()
    assert sum(made.values()) > 50
    done = backups.take()
    original = filler.everything()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM usage_usagerecord")
        cursor.execute("UPDATE accounts_user SET username = username || '-changed'")
        cursor.execute("INSERT INTO events_topic (name, version, changed_at) VALUES ('new', 1, '2026-11-01 00:00:00Z')")
    restored = restoring.restore(Path(done.path))
    after = filler.everything()
    # What differs is exactly: nobody is signed in, the backup's own row was still running, the hold.
    assert after.pop("django_session") == [] and len(original.pop("django_session")) == filler.ROWS
    assert Installation.objects.get().is_on_hold
    Installation.objects.update(is_on_hold=original_hold(original))
    after["inventory_installation"] = filler.everything()["inventory_installation"]
    ours = [row for row in original["operations_backup"] if done.pk in row and done.path in row]
    assert len(ours) == 1
    assert len(after.pop("operations_backup")) == len(original.pop("operations_backup"))
    assert after == original
    assert restored.aside.exists()


def original_hold(original: dict[str, list[tuple[Any, ...]]]) -> bool:
    columns = sorted(tables.columns(connection, "inventory_installation"))
    return bool(original["inventory_installation"][0][columns.index("is_on_hold")])


def test_new_rows_get_new_ids_after_a_restore() -> None:
    from webapp.accounts.models import Team

    filler.fill()
    done = backups.take()
    restoring.restore(Path(done.path))
    highest = max(Team.objects.values_list("pk", flat=True))
    assert Team.objects.create(name="later", slug="later").pk > highest


def test_after_a_restore_nothing_is_cleaned_up_until_a_person_has_looked(root: Any) -> None:
    inventory.installation()
    done = backups.take()
    restoring.restore(Path(done.path))
    assert inventory.is_on_hold()


def test_an_archive_names_what_is_in_it_and_is_private(places: Path) -> None:
    inventory.installation()
    done = backups.take()
    path = Path(done.path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    manifest = archive.manifest_of(path)
    assert manifest["installation"] == str(Installation.objects.get().pk)
    assert manifest["database"] == connection.vendor
    assert manifest["tables"]["inventory_installation"]["rows"] == 1
    assert ["operations", "0001_initial"] in manifest["migrations"]
    assert list(places.glob("backups/.*")) == []


def test_no_secret_is_in_an_archive(client: Any, ada: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from webapp.accounts.services import create_key

    monkeypatch.setenv("MODELYARD_ADMIN_PASSWORD", "canary-in-a-setting")
    client.login(username="ada", password="ada-has-a-password")
    session = client.session.session_key
    _row, key = create_key(ada, ada.teams.get(), "k")
    done = backups.take()
    raw = gzip.decompress(Path(done.path).read_bytes())
    master = master_key.path().read_text().strip().encode()
    for canary in (session.encode(), key.encode(), b"ada-has-a-password", b"canary-in-a-setting", master):
        assert canary not in raw
    assert b"MODELYARD_ADMIN_PASSWORD" in raw  # that it was set is worth knowing
    assert client.session.session_key == session  # and nobody was signed out by it


def test_usage_that_was_not_delivered_comes_back() -> None:
    waiting = STATE / "gateway" / "usage" / "1" / "00000000000000000001-1.jsonl"
    waiting.parent.mkdir(parents=True)
    waiting.write_text('{"id": 1}\n')
    done = backups.take()
    waiting.write_text("lost")
    restored = restoring.restore(Path(done.path))
    found = list((STATE / "gateway" / "usage").glob("*/*.jsonl"))
    assert [path.read_text() for path in found] == ['{"id": 1}\n']
    assert (restored.aside / "gateway" / "usage" / "1" / waiting.name).read_text() == "lost"


def test_a_backup_taken_while_others_write_is_whole(transactional_db: None) -> None:
    from webapp.foundation.events import services as events

    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            events.publish("one", "two")
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        done = backups.take()
    finally:
        stop.set()
        writer.join()
    restoring.restore(Path(done.path))
    from webapp.foundation.events.models import Topic

    versions = set(Topic.objects.filter(name__in=("one", "two")).values_list("version", flat=True))
    # Each publish counts both topics; outside a transaction they are two statements, so one may be ahead by one.
    assert len(versions) <= 2 and (not versions or max(versions) - min(versions) <= 1)


# --- what is refused, with nothing changed


@pytest.fixture
def made() -> Backup:
    inventory.installation()
    return backups.take()


def refused(made: Backup, match: str, **more: Any) -> None:
    before = filler.everything()
    with pytest.raises(restoring.RestoreRefused, match=match):
        restoring.restore(Path(made.path), **more)
    assert filler.everything() == before
    assert list(STATE.glob("before-restore-*")) == []
    assert list(STATE.glob(".restore-*")) == []


def test_a_restore_beside_running_processes_is_refused(made: Backup) -> None:
    import fcntl

    (STATE / "run").mkdir(exist_ok=True)
    with (STATE / "run" / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(json.dumps({"pid": 4711}))
        lock.flush()
        refused(made, "process 4711")


def test_another_master_key_is_refused_unless_the_key_file_has_the_right_one(made: Backup, places: Path) -> None:
    right = master_key.read()
    assert right is not None
    keyfile = places / "key.json"
    keyfile.write_bytes(master_key.export([right], "a long passphrase"))
    master_key.write(bytes(32))
    refused(made, "another master key")
    refused(made, "passphrase does not open", key_files=[keyfile], passphrase=lambda _file: "a wrong passphrase")
    assert master_key.read() == bytes(32)
    done = restoring.restore(Path(made.path), [keyfile], lambda _file: "a long passphrase")
    assert master_key.read() == right
    assert (done.aside / "master.key").exists()


def test_a_key_file_that_cannot_be_read_or_stored_changes_nothing(
    made: Backup, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = master_key.read()
    assert right is not None
    keyfile = places / "key.json"
    keyfile.write_bytes(master_key.export([right], "a long passphrase"))
    master_key.write(bytes(32))
    refused(made, f"{places} cannot be read: Is a directory", key_files=[places])
    replace = Path.replace

    def on_a_full_disk(path: Path, target: Path) -> Path:
        if target == master_key.path():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(path, target)

    right_one = {"key_files": [keyfile], "passphrase": lambda _file: "a long passphrase"}
    with monkeypatch.context() as full:
        full.setattr(Path, "replace", on_a_full_disk)
        refused(made, "master.key cannot be written: No space left", **right_one)
    assert master_key.read() == bytes(32)


def test_without_any_key_none_is_made_up(made: Backup) -> None:
    master_key.path().unlink()
    with pytest.raises(restoring.RestoreRefused, match="no master key"):
        restoring.restore(Path(made.path))
    assert not master_key.path().exists()


def rewritten(made: Backup, change: Callable[[dict[str, Any]], None], key: bytes | None) -> None:
    """The archive with its manifest changed, signed again when `key` is given."""

    def rewrite(members: dict[str, bytes]) -> None:
        manifest = json.loads(members[archive.MANIFEST])
        change(manifest)
        members[archive.MANIFEST] = json.dumps(manifest).encode()
        if key:
            members[archive.SIGNATURE] = archive._signature(members[archive.MANIFEST], key)

    repacked(Path(made.path), rewrite)


def repacked(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """The archive with the bytes of its members changed."""
    with tarfile.open(path) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
    change(members)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_a_newer_schema_is_refused(made: Backup) -> None:
    rewritten(made, lambda m: m["migrations"].append(["accounts", "9999_from_the_future"]), master_key.read())
    refused(made, "newer Modelyard[^§]*9999_from_the_future")


def test_the_other_kind_of_database_is_refused(made: Backup) -> None:
    rewritten(made, lambda m: m.update(database="oracle"), master_key.read())
    refused(made, "move_database")


def test_a_count_that_is_not_the_manifests_changes_nothing(made: Backup) -> None:
    def lie(manifest: dict[str, Any]) -> None:
        manifest["tables"]["inventory_installation"]["rows"] = 7

    rewritten(made, lie, master_key.read())
    refused(made, "inventory_installation has 1 rows and the manifest says 7")


def test_a_manifest_that_somebody_changed_is_refused(made: Backup) -> None:
    rewritten(made, lambda m: m.update(modelyard="666"), None)
    refused(made, "changed after it was made")


def test_a_damaged_archive_is_refused_unless_it_unpacks_to_what_was_packed(made: Backup, tmp_path: Path) -> None:
    # What the bits were decides where unpacking ends: at a broken block, or at one that now says it is the last. Or
    # nowhere, once in sixty: packed, a zero may be copied from any other zero.
    path, key = Path(made.path), master_key.read()
    assert key is not None
    whole, content, refusals = unpacked(path, tmp_path / "whole", key), path.read_bytes(), 0
    for number in range(1, 100):
        at = len(content) * number // 100
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            assert unpacked(path, tmp_path / str(number), key) == whole
        except archive.ArchiveError as refusal:
            assert re.search("damaged|changed|manifest|backup|too early", str(refusal))
            refusals += 1
    assert refusals > 80


def unpacked(path: Path, folder: Path, key: bytes) -> dict[str, bytes]:
    archive.unpack(path, folder, key)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_file_of_other_content_than_the_manifest_says_is_refused(made: Backup) -> None:
    def damage(members: dict[str, bytes]) -> None:
        name = max((n for n in members if n.startswith("database/")), key=lambda n: len(members[n]))
        members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])

    repacked(Path(made.path), damage)
    refused(made, "was damaged: its sha256")


def test_an_archive_cut_short_is_refused(made: Backup) -> None:
    path = Path(made.path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(made, "damaged|too early")


def test_a_name_that_leaves_the_folder_is_refused(made: Backup) -> None:
    path = Path(made.path)
    key = master_key.read()
    assert key is not None
    text = json.dumps(
        {"format": 1, "key": key_ring.fingerprint(key), "files": {"../../evil": {"size_bytes": 1, "sha256": "0"}}}
    ).encode()
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (
            (archive.MANIFEST, text),
            (archive.SIGNATURE, archive._signature(text, key)),
            ("../../evil", b"x"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    refused(made, "evil")
    assert not (STATE.parent / "evil").exists()


def test_a_database_somebody_else_works_on_is_not_replaced(made: Backup) -> None:
    heartbeats.beat("worker")
    if connection.vendor == "sqlite":
        # Its processes are all on this machine, and the lock shows them.
        restoring.restore(Path(made.path))
    else:
        refused(made, "worker worked on this database")


# --- as people call it


def operate(state: Path, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """One command in a process of its own, on a state folder of its own with the default database."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    environment = {**kept, "MODELYARD_STATE_DIR": str(state), **more}
    return subprocess.run([sys.executable, *words], env=environment, cwd=REPOSITORY, capture_output=True, text=True)


def test_a_new_machine_is_brought_back_from_a_backup_and_the_key_file(tmp_path: Path) -> None:
    old, new = tmp_path / "old state", tmp_path / "new"
    secret = {"MODELYARD_BACKUP_PASSPHRASE": "a long passphrase"}
    assert operate(old, "manage.py", "upgrade").returncode == 0
    told = operate(old, "-m", "webapp.operations", "backup")
    assert "Backup:" in told.stdout, told.stderr
    assert operate(old, "-m", "webapp.operations", "backup-key", **secret).returncode == 0
    [made] = (old / "backups").glob("*.tar.gz")
    refused = operate(new, "-m", "webapp.operations", "restore", str(made))
    assert refused.returncode == 1 and "KEY=keyfile" in refused.stderr
    assert not (new / "secrets" / "master.key").exists()
    words = ["-m", "webapp.operations", "restore", str(made), "--key", str(old / "backups" / "modelyard-key.json")]
    done = operate(new, *words, **secret)
    assert done.returncode == 0, done.stderr
    assert "on hold" in done.stdout
    assert (new / "secrets" / "master.key").read_text() == (old / "secrets" / "master.key").read_text()
    assert "up to date" in operate(new, "manage.py", "upgrade").stdout
