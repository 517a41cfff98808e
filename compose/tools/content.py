"""What a file is, by its content: nothing that could run gets its final name, whatever it is called."""

import os
from pathlib import Path

from compose.tools.failures import FetchError
from webapp.catalog import filenames, gguf, safetensors

# The first bytes of Python's pickles from protocol 2 on, and of the zip archives that newer ones are packed in.
PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
ADVICE = "Choose another file or repository: only sound safetensors and GGUF files are served."


def check(path: Path, name: str) -> None:
    """Raise FetchError unless `path` holds what the ending of `name` promises."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = os.pread(file.fileno(), 4, 0)
        if start[:2] in PICKLES or start == b"PK\x03\x04":
            message = f"{name} is a pickle or an archive: loading it could run any program."
            raise FetchError("not_a_model", message, ADVICE)
        try:
            if filenames.is_safetensors(name):
                safetensors.read_header(file, size)
            elif filenames.is_gguf(name):
                gguf.read_header(file, size)
        except (gguf.HeaderError, safetensors.HeaderError) as error:
            raise FetchError("not_a_model", f"{name}: {error}", ADVICE) from error
