"""The images of quantisers and of vLLM: how each is put together from package registries alone."""

from __future__ import annotations

from pathlib import Path

from webapp.engines.vllm import images as vllm
from webapp.foundation.paths import REPOSITORY, cache_dir
from workers.launcher import llamacpp_tools
from workers.launcher.images import LLAMACPP_LOCK, Context
from workers.launcher.progress import Progress
from workers.launcher.wheelhouse import site

FOLDER = REPOSITORY / "compose/quantizers"
VLLM_FOLDER = REPOSITORY / "compose/engines/vllm"
STEPS = FOLDER / "common/steps.py"
# What each quantiser's program imports beside its own file; one is a pure file of the house.
SHARED = {"steps.py": STEPS, "golden.py": REPOSITORY / "webapp/quantisation/golden.py"}


def _lock(name: str) -> Path:
    return FOLDER / name / "requirements.lock"


def _python_packages(name: str, python: str, on_progress: Progress) -> dict[str, Path]:
    return {"site": site(_lock(name), python, cache_dir(), on_progress)}


def _gguf_folders(python: str, on_progress: Progress) -> dict[str, Path]:
    tools = llamacpp_tools.ensure(cache_dir(), on_progress)
    return {
        **_python_packages("gguf", python, on_progress),
        "tools": tools,
        # The library that serves GGUF files here answers the golden prompts, too.
        "xllamacpp": site(LLAMACPP_LOCK, python, cache_dir(), on_progress),
    }


TORCH = Context(
    "modelyard/torch:1",
    FOLDER / "torch/Dockerfile",
    {},
    folders=lambda python, on_progress: _python_packages("torch", python, on_progress),
    decided_by=(_lock("torch"), Path(__file__).with_name("wheelhouse.py")),
)
GGUF = Context(
    "modelyard/quantizer-gguf:1",
    FOLDER / "gguf/Dockerfile",
    {**SHARED, "gguf.py": FOLDER / "gguf/gguf.py", llamacpp_tools.LOCK.name: llamacpp_tools.LOCK},
    parent=TORCH,
    folders=_gguf_folders,
    decided_by=(_lock("gguf"), LLAMACPP_LOCK, llamacpp_tools.LOCK, Path(llamacpp_tools.__file__)),
)


def _torch_quantiser(name: str) -> Context:
    return Context(
        f"modelyard/quantizer-{name}:1",
        FOLDER / name / "Dockerfile",
        {**SHARED, "quantise.py": FOLDER / name / "quantise.py"},
        parent=TORCH,
        folders=lambda python, on_progress: _python_packages(name, python, on_progress),
        decided_by=(_lock(name),),
    )


LLMCOMPRESSOR = _torch_quantiser("llmcompressor")
VLLM = Context(
    vllm.LOCAL,
    VLLM_FOLDER / "Dockerfile",
    {"steps.py": STEPS, **{name: VLLM_FOLDER / name for name in ("METADATA", "lscpu.py", "speed.py")}},
    parent=TORCH,
    folders=lambda python, on_progress: {
        "site": site(VLLM_FOLDER / "requirements.lock", python, cache_dir(), on_progress)
    },
    decided_by=(VLLM_FOLDER / "requirements.lock",),
)
EVERY = (GGUF, LLMCOMPRESSOR, VLLM)
