"""The image that is built here takes every flag that the engine file gives."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from webapp.engines.base import HardwareAllocation, ModelFiles
from webapp.engines.llamacpp.adapter import LlamaCpp

FOLDER = Path(__file__).resolve().parents[3] / "compose" / "engines" / "llamacpp"


@pytest.fixture(scope="module")
def flags() -> Any:
    spec = importlib.util.spec_from_file_location("llamacpp_image_flags", FOLDER / "flags.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"embeddings": True, "pooling": "mean", "memory_map": False},
        {"cache_type_k": "q8_0", "cache_type_v": "q8_0", "flash_attention": "on", "threads": 1, "prompt_cache_mib": 64},
    ],
)
def test_every_flag_of_a_launch_is_known_to_the_image(flags, options):
    engine = LlamaCpp()
    spec = engine.launch(
        ModelFiles("/models/1/a.gguf", "chat", "gguf"),
        engine.Options.model_validate(options),
        HardwareAllocation(vendor="cpu", cpu_count=2),
    )
    known = {name for flag in flags.FLAGS for name in (*flag.names, *flag.negative)}
    assert {word for word in spec.argv if word.startswith("--")} <= known
