"""What goes into the base, as far as it can be told without an archive."""

from pathlib import Path

import pytest

from workers.launcher import debian_base
from workers.launcher.progress import LauncherError


@pytest.mark.parametrize(
    ("in_package", "in_base"),
    [
        ("./", ""),
        ("./lib/", ""),
        ("./lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("./lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
        ("./bin/sh", "usr/bin/sh"),
        ("./usr/lib/python3.11/os.py", "usr/lib/python3.11/os.py"),
        ("./library/file", "library/file"),
    ],
)
def test_paths_are_moved_as_on_a_merged_system(in_package: str, in_base: str) -> None:
    assert debian_base.merged(in_package) == in_base


@pytest.mark.parametrize(
    ("name", "is_left_out"),
    [
        ("usr/share/doc/libc6/copyright", False),
        ("usr/share/doc/libc6/changelog.gz", True),
        ("usr/share/man/man1/python3.1.gz", True),
        ("usr/lib/x86_64-linux-gnu/gconv/UTF-16.so", True),
        ("usr/lib/x86_64-linux-gnu/libgomp.so.1", False),
    ],
)
def test_documentation_goes_but_licences_stay(name: str, is_left_out: bool) -> None:
    assert bool(debian_base.LEFT_OUT.match(name)) is is_left_out


def sources(folder: Path, **files: str) -> Path:
    (folder / "etc" / "sources.list.d").mkdir(parents=True)
    (folder / "own").mkdir()
    for name, text in files.items():
        (folder / "etc" / "sources.list.d" / name.replace("__", ".")).write_text(text)
    return folder / "etc"


def test_only_the_distributions_own_archives_are_asked(tmp_path: Path) -> None:
    debian = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
    other = "Types: deb\nURIs: https://deb.vendor.example\nSuites: nodistro\nComponents: main\n"
    etc = sources(
        tmp_path,
        debian__sources=debian + "\n" + other,
        vendor__list="deb [signed-by=/x] https://vendor.example cloud-bookworm main\n"
        "deb [arch=amd64] http://mirror.example/debian bookworm-security main\n",
    )
    debian_base.write_sources(etc, tmp_path / "own", "bookworm")
    kept = "".join(path.read_text() for path in (tmp_path / "own").iterdir())
    assert "mirror.example/debian\nSuites: bookworm bookworm-updates" in kept
    assert "bookworm-security" in kept
    assert "vendor.example" not in kept


def test_a_machine_without_sources_is_told_where_to_add_one(tmp_path: Path) -> None:
    etc = sources(tmp_path, other__list="deb http://vendor.example nodistro main\n")
    with pytest.raises(LauncherError, match="No package source for bookworm"):
        debian_base.write_sources(etc, tmp_path / "own", "bookworm")
