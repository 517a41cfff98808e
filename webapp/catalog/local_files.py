"""Files of this machine that may be imported: where they may lie, whether they can be read, what a folder holds."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from webapp.catalog import reading
from webapp.catalog.weight_sets import File
from webapp.foundation import paths
from webapp.foundation.errors import Invalid, ServiceError
from webapp.foundation.text import has_unfit, one_line

MAX_FOLDER_FILES = 5000


def allowed(path: Path) -> Path:
    """The real path of a file or folder under an import root; symbolic links are followed before the check.

    Of everything else the answer is the same, whether it is there or not: this is no way to look around the machine.
    """
    roots = paths.import_roots()
    # ".." is taken out by its letters: asked of the disk, it would tell what the name before it is.
    named = Path(os.path.normpath(path))
    try:
        is_below = any(named.resolve().is_relative_to(root) for root in roots)
    except (OSError, RuntimeError, ValueError):  # links in a circle, or no path at all
        is_below = False
    if not is_below:
        raise Invalid(
            f"{path} is outside the folders that models may be imported from.",
            f"Put it under {' or '.join(str(root) for root in roots)}, or name its folder in MODELYARD_IMPORT_ROOTS.",
            fields={"source_path": "outside the allowed folders"},
        )
    try:
        real = named.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        folder = next((one for one in reversed(named.parents) if not reading.may_here(one, os.X_OK)), None)
        if folder is not None and any(named.is_relative_to(root) for root in roots):
            raise closed(named, [reading.Closed(folder, is_folder=True)]) from error
        raise Invalid(f"There is no file {path}.", fields={"source_path": "no such file"}) from error
    if has_unfit(str(real)):
        raise Invalid(
            f"The path {one_line(real)!r} holds line ends, control characters or hidden marks.",
            "Rename the file or folder, then import it.",
            fields={"source_path": "holds control characters"},
        )
    return real


def check_open(source: Path, *names: str) -> None:
    """Refuse what this process may not read: a folder itself, or files in it."""
    stops = reading.closed(source, names, reading.may_here)
    if not names and source.is_dir() and not os.access(source, os.R_OK | os.X_OK):
        stops.append(reading.Closed(source, is_folder=True))
    if stops:
        raise closed(source, stops)


def closed(source: Path, stops: list[reading.Closed]) -> ServiceError:
    said = reading.command(source, stops, is_whole=reading.is_folder(source))
    what, advice = reading.told(stops, said, who="Modelyard")
    return Invalid(what, advice, fields={"source_path": what})


def listed(folder: Path) -> tuple[list[File], list[reading.Closed], list[str]]:
    """The files in it and below, the folders that do not let this process see theirs, and links out of the folder."""
    files, stops, outside = [], dict[Path, reading.Closed](), []
    for path in sorted(folder.rglob("*"))[:MAX_FOLDER_FILES]:
        try:
            if path.is_file():
                name = str(path.relative_to(folder))
                if path.resolve().is_relative_to(folder):
                    files.append(File(name, path.stat().st_size))
                else:
                    outside.append(name)
            elif path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
                stops[path] = reading.Closed(path, is_folder=True)
        except PermissionError:  # what lies behind is no part of what is offered, unless nothing else is
            stops[path.parent] = reading.Closed(path.parent, is_folder=True)
    return files, list(stops.values()), outside


@contextmanager
def open_local(path: Path, member: str) -> Iterator[tuple[BinaryIO, str, int]]:
    """The model file itself, its name and its size in bytes."""
    try:
        if not member:
            with path.open("rb") as file:
                yield file, path.name, path.stat().st_size
            return
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(member).file_size
            with archive.open(member) as inside:
                yield cast(BinaryIO, inside), member, size
    except (OSError, KeyError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        # RuntimeError: it is locked with a password, or packed in a way that zipfile does not know.
        what = f"{member} in {path.name}" if member else path.name
        raise Invalid(f"{what} cannot be read: {error}", fields={"source_path": "cannot be read"}) from error
