"""What a repository or folder offers: its files, put together into sets that can be served. Pure.

One GGUF file or one split set is one variant; so is one set of safetensors with its index, config and tokenizer.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import PurePosixPath

from webapp.catalog import companions, filenames, weight_sets
from webapp.catalog.weight_sets import File, WeightSet

MAX_FILES = 5000
# What is read of a source before its variants are known; of more the names have to do until one is chosen.
MOST_TEXTS = 32
MOST_TEXT_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Variant:
    """A set of files that is served together. `key` names it within its source."""

    key: str
    format: str
    quantisation: str
    files: tuple[File, ...]
    main_file: str
    problem: str = ""  # why it cannot be had
    folder: str = "."  # where its files lie in the source
    modules: Collection[str] = ()  # folders in it with weights that are not the model's own
    places: Mapping[str, str] = field(default_factory=dict)  # files that are called otherwise where they are served

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def weights(self) -> tuple[File, ...]:
        """The files with tensors, in order."""
        own = (file for file in self.files if PurePosixPath(self.inside(file)).parts[0] not in self.modules)
        return tuple(file for file in own if filenames.is_gguf(file.name) or filenames.is_safetensors(file.name))

    def inside(self, file: File) -> str:
        """The file's name from the variant's folder on."""
        path = PurePosixPath(file.name)
        return str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else path.name

    def place_of(self, file: File) -> str:
        """Where the file goes inside the artifact's folder."""
        return self.places.get(file.name) or self.inside(file)


@dataclass(frozen=True, slots=True)
class Offer:
    """All variants of a source, and what was left out and why."""

    variants: tuple[Variant, ...] = ()
    notes: tuple[str, ...] = ()
    code: tuple[str, ...] = field(default=())  # Python files that a config could ask to run

    def find(self, key: str) -> Variant | None:
        return next((variant for variant in self.variants if variant.key == key), None)


def texts_of(files: Iterable[File], key: str = "") -> list[File]:
    """The files whose content `group` wants to know, those of the variant `key` first: indexes, modules.json."""
    listed = [file for file in list(files)[:MAX_FILES] if filenames.is_plain(file.name)]
    wanted = [file for file in listed if (most := _largest(file.name)) and file.size_bytes <= most]
    wanted.sort(key=lambda file: (not f"{key}/".startswith(_folder(file)), _folder(file).count("/"), file.name))
    sizes = accumulate(file.size_bytes for file in wanted)
    return [file for file, size in zip(wanted, sizes, strict=True) if size <= MOST_TEXT_BYTES][:MOST_TEXTS]


def _folder(file: File) -> str:
    return f"{PurePosixPath(file.name).parent}/".removeprefix("./")


def _largest(name: str) -> int:
    if companions.is_modules(name):
        return companions.MAX_MODULES_BYTES
    return weight_sets.MAX_INDEX_BYTES if weight_sets.is_index(name) else 0


def group(files: Iterable[File], texts: Mapping[str, bytes] | None = None, outside: Collection[str] = ()) -> Offer:
    """The variants among these files, GGUF first, small before large.

    `texts`: the content of those that `texts_of` names. `outside`: names that are links out of the source.
    """
    given = list(files)[:MAX_FILES]
    listed = [file for file in given if filenames.is_plain(file.name)]
    names = [file.name for file in listed]
    sets, notes = _safetensors(listed, texts or {}, outside)
    variants = [*_gguf(listed), *sets]
    variants.sort(key=lambda variant: (variant.format != "gguf", variant.size_bytes, variant.key))
    if odd := len(given) - len(listed):
        notes.append(f"{odd} file{'s' if odd > 1 else ''} left out: their names hold what no file's name should.")
    pickles = [name for name in names if filenames.is_pickle(name) and not filenames.is_part(name)]
    if pickles:
        notes.append(
            f"{len(pickles)} pickled file{'s' if len(pickles) > 1 else ''} left out: loading one could run any program."
        )
        if not variants:
            notes.append("Choose a repository with safetensors or GGUF files of this model.")
    code = tuple(sorted(name for name in names if name.endswith(".py") and "/" not in name))
    return Offer(tuple(variants), tuple(notes), code)


def _gguf(files: list[File]) -> list[Variant]:
    sets: dict[tuple[str, int], list[File]] = {}
    for file in files:
        if not filenames.is_gguf(file.name) or filenames.is_part(file.name):
            continue
        part = filenames.part_of(file.name)
        stem, count = (part.stem, part.count) if part else (filenames.stem_of(file.name), 1)
        sets.setdefault((stem, count), []).append(file)
    found = []
    for (key, count), members in sets.items():
        members.sort(key=lambda file: (_number(file), file.name))
        problem = weight_sets.missing([_number(file) for file in members], count)
        if not problem and _number(members[0]) == 0:
            problem = "Its parts are counted from 0; engines count them from 1."
        places = {file.name: filenames.usual_part(PurePosixPath(file.name).name) for file in members}
        folder = str(PurePosixPath(members[0].name).parent)
        many = sum(stem == key for stem, _count in sets) > 1
        found.append(
            Variant(
                key=f"{key} ({count} parts)" if many and count > 1 else key,
                format="gguf",
                quantisation=filenames.quantisation_of(key),
                files=tuple(members),
                main_file=places[members[0].name],
                problem=problem,
                folder=folder,
                places=places,
            )
        )
    return found


def _number(file: File) -> int:
    part = filenames.part_of(file.name)
    return part.number if part and part.count > 1 else 1


def _safetensors(
    files: list[File], texts: Mapping[str, bytes], outside: Collection[str]
) -> tuple[list[Variant], list[str]]:
    folders: dict[str, list[File]] = {}
    for file in files:
        folders.setdefault(str(PurePosixPath(file.name).parent), []).append(file)
    there = {file.name: file for file in files}
    modules = {folder: companions.modules_of(folder, texts) for folder in folders}
    owned = {path for folder in folders for path in companions.owned(folder, modules[folder])}
    inner = {path: why for folder in folders for path, why in companions.inner(folder, modules[folder])}
    found, notes, named = list[Variant](), list[str](), set[str]()
    # From the outside to the inside: an index may name files of the folders below it.
    for folder in sorted(folders, key=lambda name: (len(PurePosixPath(name).parts), name)):
        if folder in owned:
            continue
        members = [file for file in folders[folder] if file.name not in named and not filenames.is_part(file.name)]
        sets = weight_sets.of_folder(folder, members, there, texts, outside)
        named.update(file.name for one in sets for file in one.files)
        kept = companions.beside(folder, folders[folder], files, modules[folder])
        problem = inner.get(folder) or companions.problem_of(folder, files, modules[folder])
        if "config.json" not in {PurePosixPath(file.name).name for file in folders[folder]}:
            problem = problem or "There is no config.json beside the weights: engines cannot load it."
        for number, one in enumerate(_usual(sets)):
            key = _key(folder, one, number, {variant.key for variant in found})
            found.append(_variant(key, folder, one, kept, problem, modules[folder]))
            if one.left_out and not one.problem:
                count = len(one.left_out)
                notes.append(f"{count} part{'s' if count > 1 else ''} left out that the index of {key} does not name.")
    return found, notes


def _usual(sets: list[WeightSet]) -> list[WeightSet]:
    """What engines load, the usual one first; other names beside it (consolidated.safetensors) are the same again."""
    usual = [one for one in sets if one.stem.startswith("model")] or sets
    return sorted(usual, key=lambda one: (one.stem != "model", one.index is None, one.is_split, one.stem))


def _key(folder: str, one: WeightSet, number: int, taken: set[str]) -> str:
    if number == 0:
        return "safetensors" if folder == "." else folder
    name = one.stem if one.is_split else PurePosixPath(one.files[0].name).name
    key = str(PurePosixPath(folder) / name)
    return key if key not in taken else f"{key} ({len(one.files)} parts)"


def _variant(
    key: str, folder: str, one: WeightSet, kept: list[File], problem: str, modules: companions.Modules | None
) -> Variant:
    names = {module.path.partition("/")[0] for module in modules.listed} if modules else set()
    weights = sorted(one.files, key=lambda file: file.name)
    beside = sorted([*kept, *([one.index] if one.index else [])], key=lambda file: file.name)
    # The folder is what engines are given; its config stands for it.
    return Variant(
        key=key,
        format="safetensors",
        quantisation=filenames.quantisation_of(one.stem),
        files=(*weights, *beside),
        main_file="config.json",
        problem=one.problem or problem,
        folder=folder,
        modules=names,
        places=_places(one),
    )


def _places(one: WeightSet) -> dict[str, str]:
    """Engines and quantisers look for the usual names: model.safetensors, or the index, which names the others."""
    if one.index is not None:
        return {one.index.name: "model.safetensors.index.json"} if one.stem.startswith("model.") else {}
    if one.stem.startswith("model.") and not one.is_split:
        return {one.files[0].name: "model.safetensors"}
    return {file.name: filenames.usual_ending(PurePosixPath(file.name).name) for file in one.files}
