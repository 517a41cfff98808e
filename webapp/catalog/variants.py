"""What a repository or folder offers: its files, put together into sets that can be served. Pure.

One GGUF file or one split set is one variant; so is one set of safetensors with its index, config and tokenizer.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

MAX_FILES = 5000
SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.(?P<ending>gguf|safetensors)$")
QUANTISATION = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:IQ[1-4]_[A-Z]{1,3}|Q[2-8]_K(?:_[A-Z]{1,2})?|Q[2-8]_[01]|TQ[12]_0|BF16|F16|F32|FP16|MXFP4(?:_MOE)?))"
    r"(?=[-._/]|$)",
    re.IGNORECASE,
)
# What stands beside safetensors and belongs to them.
COMPANIONS = re.compile(
    r"(config|generation_config|preprocessor_config|processor_config|video_preprocessor_config|quantize_config|"
    r"hf_quant_config|special_tokens_map|added_tokens|vocab|chat_template|params|tekken|modules|"
    r"config_sentence_transformers|sentence_bert_config|tokenizer(_config)?)\.json$|"
    r"merges\.txt$|vocab\.txt$|.+\.model$|.+\.jinja$|.+\.tiktoken$|LICENSE[^/]*$|USE_POLICY[^/]*$"
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
# Parts of a model that are no model by themselves.
PARTS = ("mmproj", "imatrix", "ggml-vocab", "adapter_model", "training_args", "optimizer")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a source. `sha256` and `git_sha1` are what the source says of its content, if it does."""

    name: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """A set of files that is served together. `key` names it within its source."""

    key: str
    format: str
    quantisation: str
    files: tuple[File, ...]
    main_file: str
    problem: str = ""  # why it cannot be had

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def weights(self) -> tuple[File, ...]:
        """The files with tensors, in order."""
        return tuple(file for file in self.files if file.name.endswith((".gguf", ".safetensors")))

    def place_of(self, file: File) -> str:
        """Where the file goes inside the artifact's folder: without the folders that led to the variant."""
        return PurePosixPath(file.name).name


@dataclass(frozen=True, slots=True)
class Offer:
    """All variants of a source, and what was left out and why."""

    variants: tuple[Variant, ...] = ()
    notes: tuple[str, ...] = ()
    code: tuple[str, ...] = field(default=())  # Python files that a config could ask to run

    def find(self, key: str) -> Variant | None:
        return next((variant for variant in self.variants if variant.key == key), None)


def group(files: Iterable[File]) -> Offer:
    """The variants among these files, GGUF first, small before large."""
    listed = [file for file in list(files)[:MAX_FILES] if _is_plain(file.name)]
    names = [file.name for file in listed]
    variants = [*_gguf(listed), *_safetensors(listed)]
    variants.sort(key=lambda variant: (variant.format != "gguf", variant.size_bytes, variant.key))
    pickles = [name for name in names if name.endswith(PICKLES) and not _is_part(name)]
    notes = []
    if pickles:
        notes.append(
            f"{len(pickles)} pickled file{'s' if len(pickles) > 1 else ''} left out: loading one could run any program."
        )
        if not variants:
            notes.append("Choose a repository with safetensors or GGUF files of this model.")
    code = tuple(sorted(name for name in names if name.endswith(".py") and "/" not in name))
    return Offer(tuple(variants), tuple(notes), code)


def quantisation_of(name: str) -> str:
    """The quantisation that a GGUF's file name tells, in capitals; empty when it tells none."""
    found = QUANTISATION.findall(name.removesuffix(".gguf"))
    return str(found[-1]).upper().replace("FP16", "F16")[:20] if found else ""


def _gguf(files: list[File]) -> list[Variant]:
    sets: dict[str, list[File]] = {}
    counts: dict[str, int] = {}
    for file in files:
        if not file.name.endswith(".gguf") or _is_part(file.name):
            continue
        split = SPLIT.match(file.name)
        key = split["stem"] if split else file.name.removesuffix(".gguf")
        sets.setdefault(key, []).append(file)
        counts[key] = int(split["count"]) if split else 1
    found = []
    for key, members in sets.items():
        members.sort(key=lambda file: file.name)
        problem = _missing(members, counts[key])
        main = PurePosixPath(members[0].name).name
        found.append(Variant(key, "gguf", quantisation_of(key), tuple(members), main, problem))
    return found


def _safetensors(files: list[File]) -> list[Variant]:
    folders: dict[str, list[File]] = {}
    for file in files:
        folders.setdefault(str(PurePosixPath(file.name).parent), []).append(file)
    found = []
    for folder, members in folders.items():
        weights = _one_set([f for f in members if f.name.endswith(".safetensors") and not _is_part(f.name)])
        if not weights:
            continue
        names = {PurePosixPath(file.name).name for file in members}
        beside = [f for f in members if COMPANIONS.match(PurePosixPath(f.name).name)]
        beside += [f for f in members if f.name.endswith(".safetensors.index.json") and len(weights) > 1]
        split = SPLIT.match(weights[0].name)
        problem = _missing(weights, int(split["count"]) if split else 1)
        if "config.json" not in names and not problem:
            problem = "There is no config.json beside the weights: engines could not load them."
        ordered = (*sorted(weights, key=lambda file: file.name), *sorted(beside, key=lambda file: file.name))
        # The folder is what engines are given; its config stands for it.
        found.append(
            Variant("safetensors" if folder == "." else folder, "safetensors", "", ordered, "config.json", problem)
        )
    return found


def _one_set(weights: list[File]) -> list[File]:
    """The set that engines load where a folder holds the same weights twice (consolidated.safetensors beside them)."""
    usual = [file for file in weights if PurePosixPath(file.name).name.startswith("model")]
    chosen = usual or weights
    splits = [file for file in chosen if SPLIT.match(file.name)]
    whole = [file for file in chosen if file not in splits]
    return splits if splits and not whole else (whole[:1] or splits)


def _missing(members: list[File], count: int) -> str:
    there = {int(split["number"]) for file in members if (split := SPLIT.match(file.name))} or {1}
    lacking = sorted(set(range(1, min(count, 10_000) + 1)) - there)
    if not lacking:
        return ""
    return (
        f"Part {lacking[0]} of {count} is missing."
        if len(lacking) == 1
        else f"{len(lacking)} of {count} parts are missing."
    )


def _is_part(name: str) -> bool:
    return any(part in PurePosixPath(name).name.lower() for part in PARTS)


def _is_plain(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name and "\0" not in name
    )
