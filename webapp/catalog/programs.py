"""What would run when somebody loads it: programs, pickles, configurations that name code. Pure, and the one place.

Asked for a folder, a file or a repository before anything is queued; for every file that is brought to a host, before
it gets its name; for what a quantiser is to read and for what it made; and before every launch, by the names that the
catalogue holds (the programs asked before are the only ones that write to the models' volume).

Chat templates are programs, too: Jinja, which engines run in a sandbox of their own. They come with nearly every model,
and are let through.
"""

import json
import re
from pathlib import PurePosixPath
from typing import Any

from webapp.catalog import filenames

# As much of a file's beginning as tells what it is: tar writes its name at byte 257.
START_BYTES = 512
MOST_CONFIG_BYTES = 16 * 2**20
_ENDINGS = (
    *filenames.PICKLES, ".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".exe", ".sh", ".bat", ".jar", ".js", ".wasm",
    ".npy", ".npz", ".joblib", ".dill", ".onnx", ".pb", ".keras", ".mar", ".nemo", ".zip", ".tar", ".gz", ".tgz",
    ".bz2", ".xz", ".zst", ".7z", ".rar", ".whl", ".ipynb",
)  # fmt: skip
# What archives and programs begin with. Newer pickles of PyTorch are zip archives, old ones were tar.
_ARCHIVES = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PK\x07\x08",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
    b"7z\xbc\xaf",
)
_PROGRAMS = (
    b"\x7fELF", b"MZ", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe", b"\x00asm", b"#!", b"\x93NUMPY", b"\x89HDF",
)  # fmt: skip
# Protocols 2 to 5 say so; those of before begin with a container, or with the name of what is to be called (Python's
# pickletools names the letters). Lines of words are not enough: vocabularies begin so.
_PICKLE = re.compile(
    rb"\x80[\x00-\x05]|\([dlt]p?\d*\n|[\]})(]q[\x00-\xff]|"
    rb"\(?[ci](?:os|posix|nt|sys|subprocess|builtins|__builtin__|copy_reg|copyreg|collections|_codecs|torch[\w.]*|numpy[\w.]*)"
    rb"\n\w+\n"
)
# Keys that make transformers and what is built on it look for Python files, here or elsewhere.
_KEYS = ("auto_map", "trust_remote_code", "custom_pipelines", "custom_generate")
_RUNS = "loading it could run any program."


def why_not(name: str, start: bytes = b"", config: bytes | None = None, *, lets_code: bool = False) -> str:
    """Why a file may not be part of a model, in a sentence; "" when it may.

    `start`: its first START_BYTES, as far as they are known. `config`: all of it, where `is_config`. `lets_code`: an
    admin has approved the Python files of exactly this commit.
    """
    last = PurePosixPath(name).name
    if last.lower().endswith(_ENDINGS) and not (lets_code and last.endswith(".py")):
        return f"{name} is a program or a pickle by its name: {_RUNS}"
    if filenames.is_safetensors(name) and start[4:9] == b"\0\0\0\0{":
        # A length and JSON, which `safetensors` looks at: 640 as a length begins as a pickle does, but goes on as none.
        return ""
    if start.startswith(_ARCHIVES) or start[257:262] == b"ustar":
        return f"{name} is a pickle or an archive, whatever its name says: {_RUNS}"
    if _PICKLE.match(start):
        return f"{name} is a pickle, whatever its name says: {_RUNS}"
    if start.startswith(_PROGRAMS):
        return f"{name} is a program, whatever its name says."
    if config is not None and not lets_code:
        return _of_config(name, config)
    return ""


def is_config(name: str) -> bool:
    """Whether engines read it for what to load: config.json, tokenizer_config.json and the like."""
    last = PurePosixPath(name).name.lower()
    return "config" in last and last.endswith(".json")


def names_code(config: Any) -> bool:
    """Whether a configuration, at any depth, names Python code to load."""
    left = [config]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            if any(part.get(key) for key in _KEYS):
                return True
            left += part.values()
        elif isinstance(part, list):
            left += part
    return False


def _of_config(name: str, raw: bytes) -> str:
    if len(raw) > MOST_CONFIG_BYTES:
        return f"{name} is larger than any known model's."
    try:
        config = json.loads(raw)
    except (ValueError, RecursionError):
        return f"{name} is not sound JSON."
    return (
        f"{name} requires custom Python code (trust_remote_code), and such code is not run here."
        if names_code(config)
        else ""
    )
