"""Who may read a file: judged as the kernel decides, and told with a command that a shell understands."""

import itertools
import json
import os
import shlex
import struct
from pathlib import Path

import pytest

from tests.catalog.gguf_file import write_gguf
from tests.catalog.safetensors_file import CONFIG, safetensors_bytes
from tests.parts.importing import follow
from tests.parts.users import somebody, walkable_folder
from webapp.catalog import reading
from webapp.catalog.inspecting import inspect_path
from webapp.catalog.reading import Closed
from webapp.foundation.errors import Invalid
from workers.runtime import specs
from workers.runtime.base import ContainerSpec

# Everything on one file system whose bits decide.
HERE = "1 0 8:1 / / rw - ext4 /dev/sda1 rw"


@pytest.fixture
def place(monkeypatch):
    """An import root."""
    with walkable_folder() as folder:
        monkeypatch.setenv("MODELYARD_IMPORT_ROOTS", str(folder))
        yield folder


def test_the_user_that_is_asked_for_is_the_one_that_jobs_run_as():
    assert f"{reading.JOBS_USER}:{reading.JOBS_USER}" == specs.NOBODY == ContainerSpec("n", "i", {}).user


def acl(*entries):
    """As the kernel keeps it: version 2, then (tag, bits, id) each."""
    nobody = 0xFFFFFFFF
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *(*one, nobody)[:3]) for one in entries)


OWN, GROUP_NONE, MASKED, OPEN, SHUT = (1, 6), (4, 0), (16, 4), (32, 4), (32, 0)
ACLS = {
    "a user let in": acl(OWN, (2, 4, reading.JOBS_USER), GROUP_NONE, MASKED, SHUT),
    "a user let in, and masked": acl(OWN, (2, 4, reading.JOBS_USER), GROUP_NONE, (16, 0), SHUT),
    "a user kept out of what is open": acl(OWN, (2, 0, reading.JOBS_USER), GROUP_NONE, MASKED, OPEN),
    "another user let in": acl(OWN, (2, 4, 4711), GROUP_NONE, MASKED, SHUT),
    "a group let in": acl(OWN, GROUP_NONE, (8, 4, reading.JOBS_USER), MASKED, SHUT),
    "a group kept out of what is open": acl(OWN, GROUP_NONE, (8, 0, reading.JOBS_USER), MASKED, OPEN),
}
WHOSE = [(0, 0), (reading.JOBS_USER, 0), (0, reading.JOBS_USER), (reading.JOBS_USER, reading.JOBS_USER)]


def _opens(path):
    try:
        (path / "inside").stat() if path.name.startswith("folder") else path.open().close()
    except PermissionError:
        return False
    return True


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away and becomes another user")
def test_the_judgement_is_the_kernels(place):
    """Every case is a real file, which that user really opens."""
    for (user, group), mode in itertools.product(WHOSE, (0o600, 0o640, 0o604, 0o040, 0o004, 0o000)):
        path = place / f"{user} {group} {mode:o}"
        path.touch()
        os.chown(path, user, group)
        path.chmod(mode)
    for (name, entries), (user, group) in itertools.product(ACLS.items(), WHOSE):
        path = place / f"{name} {user} {group}"
        path.touch()
        os.chown(path, user, group)
        try:
            os.setxattr(path, reading.ACL, entries)
        except OSError:
            pytest.skip("this file system keeps no ACL")
    for mode in (0o700, 0o710, 0o701, 0o744):
        (place / f"folder {mode:o}").mkdir()
        (place / f"folder {mode:o}" / "inside").touch()
        (place / f"folder {mode:o}").chmod(mode)
    with somebody(reading.JOBS_USER):
        real = {path.name: _opens(path) for path in place.iterdir()}
    may = reading.may_jobs(HERE)
    judged = {name: may(place / name, os.X_OK if name.startswith("folder") else os.R_OK) for name in real}
    assert judged == real and len(real) > 40 and set(real.values()) == {True, False}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/models/a.gguf", "nfs4"),
        ("/srv/modelsx/a.gguf", "ext4"),
        ("/srv/models/fast/a.gguf", "xfs"),
        ("/srv/my models/a.gguf", "fuse.sshfs"),
        ("/srv/größe/a.gguf", "cifs"),
    ],
)
def test_the_innermost_mount_says_which_file_system_it_is(path, kind):
    mounts = "\n".join(
        [
            "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
            "30 21 0:40 / /srv/models rw shared:9 - ext4 /dev/sdb rw",
            "31 21 0:41 / /srv/models rw shared:9 master:2 - nfs4 box:/models rw",
            "32 31 0:42 / /srv/models/fast rw - xfs /dev/sdc rw",
            r"33 21 0:43 / /srv/my\040models rw - fuse.sshfs box:/ rw",
            "34 21 0:44 / /srv/größe rw - cifs //box/m rw",
            "",
        ]
    )
    assert reading.file_system(Path(path), mounts) == kind


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "virtiofs", ""])
def test_where_a_server_decides_nothing_is_refused(place, kind):
    path = write_gguf(place / "tiny.gguf")
    path.chmod(0o600)
    assert not reading.may_jobs(HERE)(path, os.R_OK)
    assert reading.may_jobs(f"1 0 0:9 / {place} rw - {kind} somewhere rw" if kind else "")(path, os.R_OK)


@pytest.mark.parametrize("name", ["m", "a b", "it's", "$(touch x)", "a;b", "`a`", "-R", 'say "a"', "a\nb"])
def test_a_command_names_the_path_to_a_shell_as_it_is(name):
    path = Path("/srv") / name
    said = reading.command(path, [Closed(path / "w.safetensors", False)], is_whole=True)
    assert shlex.split(said) == ["chmod", "-R", "a+rX", str(path)]


def test_a_command_that_would_be_cut_off_is_not_given():
    path = Path("/srv") / ("x" * 200) / ("y" * 250)
    stops = [Closed(path, False)]
    _what, advice = reading.told(stops, reading.command(path, stops, is_whole=False))
    assert "/srv" not in advice and "chmod a+r" in advice


def refused(path, member=""):
    with somebody(), pytest.raises(Invalid) as refusal:
        inspect_path(path, member)
    return refusal.value


@pytest.fixture
def folder(place):
    target = place / "Tiny-1B"
    target.mkdir()
    (target / "config.json").write_text(json.dumps(CONFIG))
    (target / "model.safetensors").write_bytes(safetensors_bytes())
    return target


@pytest.mark.parametrize("name", [".", "model.safetensors", "config.json"])
def test_what_modelyard_itself_may_not_read_is_told_with_the_command(folder, name):
    (folder / name).chmod(0)
    refusal = refused(folder)
    assert str(folder / name) in refusal.what and "by Modelyard" in refusal.what
    follow(refusal)
    with somebody():
        assert inspect_path(folder).format == "safetensors"


def test_a_file_that_modelyard_itself_may_not_read_is_told_with_the_command(place):
    path = write_gguf(place / "tiny.gguf")
    path.chmod(0)
    follow(refused(path))
    with somebody():
        assert inspect_path(path).model_name == "Tiny"


def test_a_folder_on_the_way_to_it_is_told_with_the_command(place, folder):
    (place / "private").mkdir()
    moved = folder.rename(place / "private" / "Tiny-1B")
    (place / "private").chmod(0)
    refusal = refused(moved)
    assert refusal.what.startswith(f"{place}/private cannot be entered")
    follow(refusal)
    with somebody():
        assert inspect_path(moved).format == "safetensors"


def test_a_closed_folder_beside_the_model_does_not_matter(folder):
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x").touch()
    (folder / ".cache").chmod(0)
    with somebody():
        assert inspect_path(folder).format == "safetensors"


def test_a_closed_folder_that_may_hold_the_model_is_named(place, folder):
    folder.chmod(0)
    refusal = refused(place)
    assert str(folder) in refusal.what
    follow(refusal)
    with somebody():
        assert inspect_path(place).format == "safetensors"


def test_of_closed_folders_outside_the_roots_nothing_is_told(place, folder, monkeypatch):
    (place / "root").mkdir()
    monkeypatch.setenv("MODELYARD_IMPORT_ROOTS", str(place / "root"))
    folder.chmod(0)
    refusal = refused(folder / "secret" / "x")
    assert "outside the folders" in refusal.what and "chmod" not in str(refusal)
