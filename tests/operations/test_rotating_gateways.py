"""What the gateways keep on disk follows a rotation of the master key."""

import threading

import pytest

from tests.operations.rotation import ended
from webapp.gateway.routing import vault
from webapp.gateway.settings import snapshot_file, snapshot_files
from webapp.operations import rotating

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ring")]


def test_what_the_gateways_keep_on_disk_follows() -> None:
    """Both parts of their table, and the file of the release before where no gateway has replaced it yet."""
    files = snapshot_files()
    assert {path.stem for path in files} == {"principals", "routes", "snapshot"}
    for path in files:
        vault.save(path, path.name.encode())
    ended()
    assert [vault.load(path) for path in files] == [path.name.encode() for path in files]
    for path in files:
        path.unlink()


def test_a_stored_table_that_a_gateway_removed_is_not_brought_back() -> None:
    """It waits for a renewal that has begun, and a renewal finds what is gone gone."""
    path = snapshot_file("snapshot")
    vault.save(path, b"of the release before")
    rotating.rotate(None)
    removing = threading.Thread(target=vault.remove, args=(path,))
    with vault._locked(path):
        removing.start()
        removing.join(0.1)
        assert path.exists()
    removing.join()
    vault.renew(path)
    assert not path.exists()
