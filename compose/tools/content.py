"""What a file is, by its content: nothing that could run gets its final name, whatever it is called."""

from pathlib import Path

from compose.tools.failures import FetchError
from webapp.catalog import filenames, gguf, programs, safetensors

ADVICE = "Choose another file or repository: only sound safetensors and GGUF files are served."


def check(path: Path, name: str, *, lets_code: bool = False, code: str = "not_a_model") -> None:
    """Raise FetchError unless `path` holds what the ending of `name` promises, and nothing that could run.

    `lets_code`: an admin has approved the Python files of the commit that it comes from. `code`: of the FetchError.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(programs.START_BYTES)
        file.seek(0)
        config = file.read(programs.MOST_CONFIG_BYTES + 1) if programs.is_config(name) else None
        file.seek(0)
        problem = programs.why_not(name, start, config, lets_code=lets_code)
        if problem:
            raise FetchError(code, problem, ADVICE)
        try:
            if filenames.is_safetensors(name):
                safetensors.read_header(file, size)
            elif filenames.is_gguf(name):
                gguf.read_header(file, size)
        except (gguf.HeaderError, safetensors.HeaderError) as error:
            raise FetchError(code, f"{name}: {error}", ADVICE) from error
