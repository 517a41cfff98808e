"""Deaths of the real llama.cpp, explained from what it really printed.

Needs an interpreter with xllamacpp in MODELYARD_TEST_LLAMACPP_PYTHON.
"""

import os
from pathlib import Path

import pytest

from tests.engines.llamacpp.loading import load
from tests.planner.shapes import SHAPES
from webapp.engines.base import ExitCode, ExitFacts
from webapp.engines.llamacpp.adapter import LlamaCpp
from webapp.engines.llamacpp.memory import Settings

PYTHON = os.environ.get("MODELYARD_TEST_LLAMACPP_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="no interpreter with xllamacpp in MODELYARD_TEST_LLAMACPP_PYTHON")


def foreign() -> bytes:
    model = SHAPES["llama"]()
    model.keys[0] = ("general.architecture", 8, "abacus")
    return model.file()


def broken_template() -> bytes:
    return SHAPES["llama"]().text("tokenizer.chat_template", "{% if x %}{{ messages }").file()


def incomplete() -> bytes:
    model = SHAPES["llama"]()
    model.tensors.pop()
    return model.file()


def too_new() -> bytes:
    model = SHAPES["llama"]()
    model.version = 9
    return model.file()


WHOLE = SHAPES["llama"]().file()
QUANTISED = Settings(512, cache_type_k="q8_0", cache_type_v="q8_0", flash_attention=False)


@pytest.mark.parametrize(
    ("raw", "settings", "code", "words"),
    [
        (b"garbage" * 100, Settings(512), ExitCode.MODEL_REFUSED, "not a GGUF model"),
        (b"", Settings(512), ExitCode.MODEL_REFUSED, "truncated"),
        (WHOLE[:500], Settings(512), ExitCode.MODEL_REFUSED, "truncated"),
        (WHOLE[: len(WHOLE) // 2], Settings(512), ExitCode.MODEL_REFUSED, "truncated"),
        (foreign(), Settings(512), ExitCode.MODEL_REFUSED, "architecture"),
        (incomplete(), Settings(512), ExitCode.MODEL_REFUSED, "lacks something"),
        (broken_template(), Settings(512), ExitCode.MODEL_REFUSED, "chat template"),
        (too_new(), Settings(512), ExitCode.MODEL_REFUSED, "GGUF version"),
        (WHOLE, QUANTISED, ExitCode.BAD_OPTION, "flash_attn"),
        (WHOLE, Settings(2**20, parallel=4), ExitCode.OUT_OF_MEMORY, "host memory"),
    ],
)
def test_real_complaints_are_understood(
    raw: bytes, settings: Settings, code: ExitCode, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(raw)
    log = load(PYTHON, path, settings, address_space=1536 * 2**20)
    reason = LlamaCpp().explain_exit(ExitFacts(1, log_tail=log[-8000:]))
    assert (reason.code, reason.retry) == (code, False), log[-2000:]
    assert words in reason.message, log[-2000:]
