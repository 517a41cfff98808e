"""What people may choose about vLLM."""

from typing import ClassVar, Literal

from pydantic import Field

from webapp.engines.base import EngineOptions


class VllmOptions(EngineOptions):
    """What people may choose about a vLLM server."""

    basic: ClassVar[tuple[str, ...]] = ("context_length", "parallel_slots")

    context_length: int = Field(
        4096,
        ge=16,
        le=1_048_576,
        title="Context length",
        description="Tokens one request may use, prompt and answer together.",
    )
    parallel_slots: int = Field(
        16,
        ge=1,
        le=1024,
        title="Slots",
        description="Requests computed at the same time; further ones wait their turn.",
    )
    cache_gib: int = Field(
        1,
        ge=1,
        le=1024,
        title="Cache (GiB)",
        description="Memory for the key-value cache of all requests together, taken whole at the start.",
    )
    data_type: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", title="Data type", description="Of the computation; auto takes what the model was published in."
    )
    cache_type: Literal["auto", "fp8"] = Field(
        "auto",
        title="Cache type",
        description="fp8 holds twice as many tokens in the same memory, on GPUs that know it.",
    )
    tensor_parallel: int | None = Field(
        None,
        ge=1,
        le=16,
        title="Tensor parallel",
        description="GPUs of one host that share the model, each with an equal part. Empty: as few as hold it.",
    )
    compile: bool = Field(
        False,
        title="Compile the model",
        description="Faster once it runs, a minute or more slower to start; needs a compiler in the image.",
    )
    prefix_caching: bool = Field(
        True, title="Reuse prompts", description="Requests that begin alike share their part of the cache."
    )
