"""The estimate against llama.cpp itself, loading models of many architectures.

Needs an interpreter with xllamacpp in MODELYARD_TEST_LLAMACPP_PYTHON (and takes a whole model file for the starter
model's row when MODELYARD_TEST_GGUF names one). Run as a program it prints the lines for captures/buffers.txt.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.engines.llamacpp.loading import load
from tests.planner.shapes import SHAPES
from webapp.catalog import gguf
from webapp.engines.llamacpp.log import parse, reported
from webapp.engines.llamacpp.memory import Settings, estimate
from webapp.planner.comparison import compare
from webapp.planner.memory import MIB

PYTHON = os.environ.get("MODELYARD_TEST_LLAMACPP_PYTHON", "")
MODEL = os.environ.get("MODELYARD_TEST_GGUF", "")

CASES = [
    ("smollm2", Settings(512)),
    ("smollm2", Settings(128, parallel=4)),
    ("smollm2", Settings(2048)),
    ("smollm2", Settings(2048, parallel=4)),
    ("smollm2", Settings(8192)),
    ("smollm2", Settings(2048, cache_type_k="q8_0", cache_type_v="q8_0")),
    ("smollm2", Settings(2048, cache_type_k="q8_0", cache_type_v="q4_0")),
    ("smollm2", Settings(2048, micro_batch=128)),
    ("smollm2", Settings(2048, flash_attention=False)),
    ("llama", Settings(2048, flash_attention=False)),
    ("mixture", Settings(1024, parallel=2, flash_attention=False)),
    ("llama", Settings(700, parallel=3)),
    ("llama", Settings(1024, parallel=2, embeddings=True)),
    ("llama_q4_0", Settings(2048, parallel=2)),
    ("llama_q4_k", Settings(2048)),
    ("llama_q6_k", Settings(2048)),
    ("llama_mxfp4", Settings(2048)),
    ("large_vocabulary", Settings(1024, parallel=4, micro_batch=64)),
    ("mixture", Settings(2048, parallel=2)),
    ("gemma2", Settings(2048)),
    ("gemma2", Settings(8192, parallel=2, micro_batch=256)),
    ("gemma3", Settings(8192, parallel=2, micro_batch=256)),
    ("gemma3", Settings(700, parallel=3)),
    ("deepseek2", Settings(8192, parallel=2)),
    ("mamba", Settings(4096, parallel=3)),
]


def model_file(name: str, folder: Path) -> Path:
    """A file of that shape; its weights are a hole in the file."""
    if name == "smollm2" and MODEL:
        return Path(MODEL)
    model, path = SHAPES[name](), folder / f"{name}.gguf"
    header = model.header()
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + model.data_bytes)
    return path


@pytest.mark.skipif(not PYTHON, reason="no interpreter with xllamacpp named in MODELYARD_TEST_LLAMACPP_PYTHON")
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_every_buffer_llamacpp_reports_was_predicted_to_a_mebibyte(
    name: str, settings: Settings, tmp_path: Path
) -> None:
    path = model_file(name, tmp_path)
    with path.open("rb") as file:
        facts = gguf.facts(gguf.read_header(file, path.stat().st_size))
    log = load(PYTHON, path, settings)
    rows = compare(estimate(facts, settings), reported(log.splitlines()))
    assert {"weights", "compute_buffer", "output_buffer"} <= {row.name for row in rows}, log[-2000:]
    exact = {"weights", "kv_cache", "recurrent_state", "output_buffer", "repack"}
    for row in rows:
        if row.name in exact or facts.recurrent_bytes == 0:
            assert abs(row.difference_bytes) < MIB, (row, log[-2000:])


def _record(folder: Path) -> None:
    for number, (name, settings) in enumerate(CASES):
        print(f"# case {number}: {name} {settings}")
        for line in load(PYTHON, model_file(name, folder), settings).splitlines():
            fact = parse(line)
            if fact is not None and fact.kind == "buffer":
                print(line)


if __name__ == "__main__":
    _record(Path(sys.argv[1]))
