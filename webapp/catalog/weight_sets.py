"""Which safetensors files are one model: those that its index names, or else all parts of one count. Pure.

The index is model.safetensors.index.json of Hugging Face's transformers: `weight_map` says for each tensor the file
that holds it. Its variants stand before the number and before the ending: model.fp16-00001-of-00002.safetensors and
model.safetensors.index.fp16.json.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from webapp.catalog.filenames import is_plain, is_safetensors, part_of, stem_of

# The largest known index (a model of a trillion parameters) has 14 MB.
MAX_INDEX_BYTES = 32 * 2**20
MAX_TENSORS = 1_000_000
MAX_OBJECTS = 1000  # the index, its map, its metadata
INDEX = re.compile(r"(?P<stem>.+)\.safetensors\.index(?P<flavour>\.[\w-]+)?\.json$")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a source. `sha256` and `git_sha1` are what the source says of its content, if it does."""

    name: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True, slots=True)
class WeightSet:
    """Files that are loaded together. `stem` is what their names begin with, `index` the file that names them."""

    stem: str
    files: tuple[File, ...]
    index: File | None = None
    problem: str = ""
    left_out: tuple[File, ...] = ()  # parts of that stem which its index does not name

    @property
    def is_split(self) -> bool:
        return self.index is not None or len(self.files) > 1 or part_of(self.files[0].name) is not None


class BadIndex(ValueError):
    """The index cannot be used; the message says why."""


def is_index(name: str) -> bool:
    return INDEX.match(PurePosixPath(name).name) is not None


def read_index(raw: bytes) -> tuple[str, ...]:
    """The files that an index names, in order. Raises BadIndex."""
    if len(raw) > MAX_INDEX_BYTES:
        raise BadIndex("is larger than any known model's")
    # A parsed object is many times its text: what no index needs is refused before it is parsed.
    if raw.count(b":") > MAX_TENSORS or raw.count(b"{") + raw.count(b"[") > MAX_OBJECTS:
        raise BadIndex("lists more than any known model has")
    try:
        found = json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadIndex(str(error) if isinstance(error, _Twice) else "is not sound JSON") from error
    weight_map = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise BadIndex("has no weight_map that says which file holds which tensor")
    names = sorted(set(weight_map.values()))
    if not names:
        raise BadIndex("names no file")
    for name in names:
        if not is_plain(name):
            raise BadIndex(f"names {name!a:.100}, which leads out of the model's folder")
        if str(PurePosixPath(name)) != name or not is_safetensors(name):
            raise BadIndex(f"names {name!a:.100}, which is no name of a safetensors file")
    return tuple(names)


def of_folder(
    folder: str,
    members: Sequence[File],
    there: Mapping[str, File],
    texts: Mapping[str, bytes],
    outside: Iterable[str] = (),
) -> list[WeightSet]:
    """The sets of one folder; `there` are all files of the source by name, `texts` the content of its indexes.

    `outside`: names of files that are links out of the source.
    """
    indexes = [file for file in members if is_index(file.name)]
    indexed = [_indexed(folder, file, there, texts[file.name], outside) for file in indexes if file.name in texts]
    for file in indexes:
        if file.size_bytes > MAX_INDEX_BYTES and file.name not in texts:
            what = f"{PurePosixPath(file.name).name} is larger than any known model's."
            indexed.append(WeightSet(_stem_of_index(file.name), (), file, what))
    named = {file.name for one in indexed for file in one.files}
    weights = [file for file in members if is_safetensors(file.name) and file.name not in named]
    found, left_out = list(indexed), dict[str, list[File]]()
    for one in _by_count(weights):
        owner = next((other for other in indexed if other.stem == one.stem and one.is_split), None)
        if owner is None:
            unread = next((file for file in indexes if _stem_of_index(file.name) == one.stem), None)
            found.append(replace(one, index=unread) if one.is_split else one)
        else:
            left_out.setdefault(owner.stem, []).extend(one.files)
    return [replace(one, left_out=tuple(left_out.get(one.stem, ()))) if one.index else one for one in found]


def missing(numbers: Sequence[int], count: int) -> str:
    """What a set of so many numbered parts lacks, in words; they are counted from 1, by some from 0."""
    there = Counter(numbers)
    twice = next((number for number, times in there.items() if times > 1), None)
    if twice is not None:
        return f"Part {twice} of {count} is there twice."
    first = 0 if 0 in there else 1
    lacking = count - sum(first <= number < first + count for number in there)
    if not lacking:
        return ""
    if lacking > 1:
        return f"{lacking} of {count} parts are missing."
    return f"Part {next(n for n in range(first, first + count) if n not in there)} of {count} is missing."


def _indexed(folder: str, index: File, there: Mapping[str, File], raw: bytes, outside: Iterable[str]) -> WeightSet:
    said = PurePosixPath(index.name).name
    stem = _stem_of_index(index.name)
    try:
        names = read_index(raw)
    except BadIndex as error:
        return WeightSet(stem, (), index, f"{said} {error}.")
    full = [str(PurePosixPath(folder) / name) for name in names]
    found = tuple(there[name] for name in full if name in there)
    lacking = [name for name in full if name not in there]
    if not lacking:
        return WeightSet(stem, found, index)
    name = PurePosixPath(lacking[0]).relative_to(folder)
    if lacking[0] in set(outside):
        return WeightSet(stem, found, index, f"{said} names {name}, which is a link that leads out of the folder.")
    more = f", nor are {len(lacking) - 1} more" if len(lacking) > 1 else ""
    return WeightSet(stem, found, index, f"{said} names {name}, which is not there{more}.")


def _by_count(weights: Iterable[File]) -> list[WeightSet]:
    whole, split = list[WeightSet](), dict[tuple[str, int], list[File]]()
    for file in weights:
        name = PurePosixPath(file.name).name
        part = part_of(name)
        if part is None:
            whole.append(WeightSet(stem_of(name), (file,)))
        else:
            split.setdefault((part.stem, part.count), []).append(file)
    for (stem, count), files in split.items():
        files.sort(key=_number)
        whole.append(WeightSet(stem, tuple(files), None, missing([_number(file) for file in files], count)))
    return whole


def _number(file: File) -> int:
    part = part_of(file.name)
    return part.number if part else 0


def _stem_of_index(name: str) -> str:
    found = INDEX.match(PurePosixPath(name).name)
    return f"{found['stem']}{found['flavour'] or ''}" if found else ""


class _Twice(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice("says of one tensor twice where it is")
    return found
