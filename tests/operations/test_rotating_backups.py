"""Backups that are made before, while and after the master key is rotated, and what opens them."""

from pathlib import Path

import pytest

from tests.operations.rotation import ended
from webapp.foundation import key_ring
from webapp.operations import archive, backups, master_key, restoring, rotating

pytestmark = pytest.mark.usefixtures("ring")


@pytest.mark.django_db(transaction=True)
def test_a_backup_says_which_keys_it_needs_also_in_the_midst_of_a_rotation(places: Path) -> None:
    first = key_ring.current()[0]
    before = Path(backups.take(places / "before.tar.gz").path)
    begun = rotating.rotate(None)
    midway = Path(backups.take(places / "midway.tar.gz").path)
    assert archive.manifest_of(midway)["keys"] == sorted(key.id for key in begun.keys)
    keyfile = places / "keys.json"
    keyfile.write_bytes(master_key.export([key.secret for key in master_key.ring()], "a long passphrase"))
    ended()
    with pytest.raises(restoring.RestoreRefused, match=f"it needs {first.id[:8]}"):
        restoring.restore(before)
    restoring.restore(midway, [keyfile], lambda _file: "a long passphrase")
    assert [key.id for key in key_ring.current()] == [key.id for key in begun.keys]
    assert rotating.advance(), "a restored rotation goes on, and nobody need be waited for"
    assert [key.id for key in key_ring.current()] == [begun.keys[0].id]


@pytest.mark.django_db(transaction=True)
def test_a_backup_of_the_midst_of_a_rotation_opens_with_the_key_files_of_before_and_after(places: Path) -> None:
    def exported(name: str) -> Path:
        file = places / name
        file.write_bytes(master_key.export([key.secret for key in master_key.ring()], f"the passphrase of {name}"))
        return file

    first, before = key_ring.current()[0], exported("before.json")
    begun = rotating.rotate(None)
    midway = Path(backups.take(places / "midway.tar.gz").path)
    ended()
    after = exported("after.json")
    key_ring.path().unlink()  # a new machine
    asked = []

    def passphrase(file: Path) -> str:
        asked.append(file)
        return f"the passphrase of {file.name}"

    lacks = rf"it needs {begun.keys[0].id[:8]}, too\.\n.*--key FILE --key FILE"
    with pytest.raises(restoring.RestoreRefused, match=lacks):
        restoring.restore(midway, [before], passphrase)
    restoring.restore(midway, [before, after], passphrase)
    assert [key.id for key in master_key.ring()] == [begun.keys[0].id, first.id]
    assert asked == [before, before, after]
