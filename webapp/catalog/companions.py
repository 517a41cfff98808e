"""What stands beside safetensors and belongs to them: tokenizer, templates, modules of sentence-transformers. Pure.

modules.json is sentence-transformers' list of what a text goes through: the model, then a pooling, a dense layer, a
normalisation. Each may have a folder with a config.json and weights of its own; engines read the pooling from there.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from webapp.catalog.filenames import is_pickle, is_plain, is_safetensors
from webapp.catalog.weight_sets import File

MODULES = "modules.json"
MAX_MODULES_BYTES = 2**20
TEMPLATES = "additional_chat_templates"
BESIDE = re.compile(
    r"(config|generation_config|preprocessor_config|processor_config|video_preprocessor_config|quantize_config|"
    r"hf_quant_config|special_tokens_map|added_tokens|vocab|chat_template|params|tekken|modules|"
    r"config_sentence_transformers|sentence_[a-z]+_config|tokenizer(_config)?)\.json$|"
    r"merges\.txt$|vocab\.txt$|.+\.model(\.v\d+)?$|.+\.jinja$|.+\.tiktoken$|LICENSE[^/]*$|USE_POLICY[^/]*$"
)
_OF_MODULES = re.compile(r"(modules|config_sentence_transformers|sentence_[a-z]+_config)\.json$")
# The only kind without a configuration: repositories keep no empty folders, so there is none of it.
_WITHOUT_FILES = "Normalize"


@dataclass(frozen=True, slots=True)
class Module:
    """One line of modules.json: its folder, and the last word of its type."""

    path: str
    kind: str

    @property
    def is_model(self) -> bool:
        return self.kind.endswith("Transformer")


@dataclass(frozen=True, slots=True)
class Modules:
    """All lines of one modules.json, or why it cannot be used."""

    listed: tuple[Module, ...] = ()
    problem: str = ""


def read_modules(raw: bytes) -> Modules:
    """What modules.json lists."""
    if len(raw) > MAX_MODULES_BYTES:
        return Modules(problem=f"{MODULES} is larger than any known model's.")
    try:
        lines = json.loads(raw)
    except (ValueError, RecursionError):
        lines = None
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        return Modules(problem=f"{MODULES} is no list of modules.")
    found = []
    for line in lines:
        path, kind = line.get("path", ""), line.get("type", "")
        if not isinstance(path, str) or not isinstance(kind, str):
            return Modules(problem=f"{MODULES} is no list of modules.")
        if path and (not is_plain(path) or PurePosixPath(path) == PurePosixPath(".")):
            return Modules(problem=f"{MODULES} names {path!a:.100}, which leads out of the model's folder.")
        found.append(Module(str(PurePosixPath(path)) if path else "", kind.rpartition(".")[2]))
    return Modules(tuple(found))


def beside(folder: str, members: Sequence[File], files: Sequence[File], modules: Modules | None) -> list[File]:
    """The companions of the weights in `folder`, whose own files are `members`, among all files of the source."""
    found = [file for file in members if BESIDE.match(PurePosixPath(file.name).name)]
    found += [file for file in _below(folder, TEMPLATES, files) if file.name.endswith(".jinja")]
    for module in modules.listed if modules else ():
        if module.path and not module.is_model:
            found += [file for file in _below(folder, module.path, files) if not _is_program(file.name)]
    return list(dict.fromkeys(found))


def of_result(names: Sequence[str], modules: Modules) -> list[str]:
    """Which of a source's files, by all their names, a quantised result needs as they are: tools write tokenizer and
    config anew, and know nothing of modules."""
    folders = tuple(f"{module.path}/" for module in modules.listed if module.path and not module.is_model)
    own = [name for name in names if name.startswith(folders)] if folders else []
    return [*own, *(name for name in names if _OF_MODULES.match(name))]


def problem_of(folder: str, files: Sequence[File], modules: Modules | None) -> str:
    """Why a model with this modules.json cannot be had, in words."""
    if modules is None or modules.problem:
        return modules.problem if modules else ""
    for module in modules.listed:
        if not module.path or module.is_model:
            continue
        there = _below(folder, module.path, files)
        if not there and module.kind != _WITHOUT_FILES:
            return f"{MODULES} names {module.path}, which is not there."
        weights = [file.name for file in there if is_pickle(file.name)]
        if weights and not any(is_safetensors(file.name) for file in there):
            return f"{module.path} has its weights in a pickle alone: loading one could run any program."
    return ""


def owned(folder: str, modules: Modules | None) -> set[str]:
    """The folders that belong to the model in `folder` and are none of their own."""
    listed = modules.listed if modules else ()
    return {str(PurePosixPath(folder) / one.path) for one in listed if one.path and not one.is_model}


def inner(folder: str, modules: Modules | None) -> list[tuple[str, str]]:
    """The folder that modules.json keeps the model itself in, and why it cannot be had from there."""
    listed = modules.listed if modules else ()
    why = "The modules.json above it has more than this to it: engines look for the model beside modules.json."
    return [(str(PurePosixPath(folder) / one.path), why) for one in listed if one.path and one.is_model]


def _below(folder: str, path: str, files: Sequence[File]) -> list[File]:
    start = f"{PurePosixPath(folder) / path}/"
    return [file for file in files if file.name.startswith(start)]


def _is_program(name: str) -> bool:
    return is_pickle(name) or name.endswith((".py", ".onnx"))


def is_modules(name: str) -> bool:
    return PurePosixPath(name).name == MODULES


def modules_of(folder: str, texts: Mapping[str, bytes]) -> Modules | None:
    """What the modules.json in the folder lists; None where there is none, or nobody has read it."""
    raw = texts.get(str(PurePosixPath(folder) / MODULES))
    return None if raw is None else read_modules(raw)
