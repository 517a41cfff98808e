"""What the name of a model file tells: its ending, its part of a set, its quantisation, the model. Pure.

Names of GGUF files are built as ggml's docs/gguf.md says: base name, size, fine-tune, version, encoding, type, shard,
with hyphens between them. Publishers keep to most of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from webapp.foundation.text import has_unfit, one_line

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
QUANTISATION = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:IQ[1-4]_[A-Z]{1,3}|Q[2-8]_K(?:_[A-Z]{1,2})?|Q[2-8]_[01]|TQ[12]_0|BF16|F16|F32|FP16|MXFP4(?:_MOE)?))"
    r"(?=[-._/]|$)",
    re.IGNORECASE,
)
# 135M, 8x7B, 0.5B, and 30B-A3B, which is a size with its active parameters.
SIZE = re.compile(r"(?:^|[-._ ])(?:\d+x)?(?:\d+\.)?\d+[KMBTQ](?=[-._ ]|$)", re.IGNORECASE)
# What repositories add to a model's name: the format that they hold it in.
FORMATS = re.compile(r"[-_.](GGUF|AWQ|GPTQ|FP8|FP16|BF16|MLX|W4A16|W8A8|(INT|NF)?[348]-?bit|Int[48]|quantized)$", re.I)
# 255 less the marks of a file that is half done.
MOST_NAME_BYTES = 239
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{1,9})-of-(?P<count>\d{1,9})$")
# Files that belong to a model without being one. In the middle of a name these are words of a model's own.
_BESIDE_SAFETENSORS = frozenset({"adapter_model", "optimizer", "training_args"})
_PROJECTOR = re.compile(r"(?:^|[-_.])mmproj(?:[-_.]|$)")
_OTHER_TYPE = re.compile(r"^ggml-vocab-|-(?:vocab|lora)$")  # as the convention's type
_IMATRIX = re.compile(r"^imatrix(?:[-_.]|$)|[-_.]imatrix$")


@dataclass(frozen=True, slots=True)
class Part:
    """A name of the form STEM-N-of-M."""

    stem: str
    number: int
    count: int


def part_of(name: str) -> Part | None:
    """Which part of a set the file is, with whatever number of digits; None for a file that is whole by its name."""
    found = _PART.match(stem_of(name))
    if found is None or not int(found["count"]):
        return None
    return Part(found["stem"], int(found["number"]), int(found["count"]))


def is_gguf(name: str) -> bool:
    return name.lower().endswith(".gguf")


def is_safetensors(name: str) -> bool:
    return name.lower().endswith(".safetensors")


def is_pickle(name: str) -> bool:
    return name.lower().endswith(PICKLES)


def stem_of(name: str) -> str:
    """The name without the ending of a model file."""
    return name[: -len(".gguf")] if is_gguf(name) else name[: -len(".safetensors")] if is_safetensors(name) else name


def usual_ending(name: str) -> str:
    """The name with its ending in small letters, as engines and quantisers look for it."""
    return stem_of(name) + name[len(stem_of(name)) :].lower()


def usual_part(name: str) -> str:
    """What llama.cpp calls this part of a split model: it makes the names of the others from the first one's."""
    part = part_of(name)
    return f"{part.stem}-{part.number:05}-of-{part.count:05}.gguf" if part else usual_ending(name)


def quantisation_of(name: str) -> str:
    """The quantisation that a file's name tells, in capitals; empty when it tells none."""
    found = QUANTISATION.findall(stem_of(name))
    return str(found[-1]).upper().replace("FP16", "F16")[:20] if found else ""


def is_part(name: str) -> bool:
    """Whether the file belongs to a model without being one: a projector, an importance matrix, an adapter."""
    file = PurePosixPath(name).name
    part = part_of(file)
    stem = (part.stem if part else stem_of(file)).lower()
    if not is_gguf(file):
        return stem.partition(".")[0] in _BESIDE_SAFETENSORS
    if _PROJECTOR.search(stem) or _OTHER_TYPE.search(stem):
        return True
    # An importance matrix is for all quantisations of a model, so its name has none.
    is_matrix = _IMATRIX.search(stem) is not None and not quantisation_of(stem)
    return is_matrix and (stem.endswith("imatrix") or not SIZE.search(stem))


def is_plain(name: str) -> bool:
    """Whether the name stays in its folder and can be shown, stored and typed as it is."""
    path = PurePosixPath(name)
    is_inside = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    return is_inside and not _is_odd(name) and not any(map(is_too_long, path.parts))


def is_too_long(name: str) -> bool:
    """Whether no usual file system keeps a file of this name, with what fetching puts before and after it."""
    return len(name.encode(errors="replace")) > MOST_NAME_BYTES


def _is_odd(name: str) -> bool:
    return "\\" in name or has_unfit(name)


def model_name(metadata: Mapping[str, object], file: str, place: str = "") -> str:
    """The model that a GGUF file is of, whatever way it came: by its header, its name, or what it lies in (`place`).

    A file's name that says what the header says is spelled as its publisher spells it; headers are filled in by the
    converter, with the name of a training run where it found no better one. Of other names one with a size comes
    first: those without hold for a whole family.
    """
    words = [_word(metadata.get(f"general.{key}")) for key in ("basename", "size_label", "finetune", "version")]
    by_file, said = without_encoding(PurePosixPath(file).name), one_line(metadata.get("general.name") or "")
    if words[0]:
        return by_file if _says(by_file, *words[:3]) else "-".join(word for word in words if word)
    holder = without_format(place)
    sized = next((name for name in (by_file, holder) if SIZE.search(name)), "")
    return sized or said or holder or by_file


def without_encoding(name: str) -> str:
    """The name of a GGUF file without its ending, shard, type and quantisation."""
    part = part_of(name)
    stem = part.stem if part else stem_of(name)
    found = list(QUANTISATION.finditer(stem))
    if found and found[-1].end() == len(stem) and found[-1].start():
        stem = stem[: found[-1].start()]
    return one_line(stem)


def without_format(name: str) -> str:
    """The model that a repository is about: without its owner and without the format that its name ends with."""
    last = one_line(name.rsplit("/", 1)[-1])
    while (shorter := FORMATS.sub("", last)) != last and shorter:
        last = shorter
    return last


def _says(name: str, base: str, size: str, finetune: str) -> bool:
    """Whether a file's name holds base name, size and, where the header knows one, some fine-tune."""
    found = SIZE.search(name)
    if found is None or _letters(base) not in _letters(name):
        return False
    is_same_size = not size or _letters(size) == _letters(found[0])
    return is_same_size and (not finetune or len(name) > found.end())


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum() or letter == ".").strip(".")


def _word(value: object) -> str:
    """One part of a name, spelled as llama.cpp's converter spells it in names of files."""
    return one_line(value).replace(" ", "-").replace("/", "-").strip("-") if isinstance(value, str) else ""
