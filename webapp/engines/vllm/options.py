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
        description="Max tokens per request (prompt + output).",
    )
    parallel_slots: int = Field(
        16,
        ge=1,
        le=1024,
        title="Parallel requests (slots)",
        description="Requests processed concurrently (max_num_seqs); the rest are queued.",
    )
    cache_gib: int = Field(
        1,
        ge=1,
        le=1024,
        title="KV cache (GiB)",
        description="KV cache shared by all requests; reserved at startup.",
    )
    data_type: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", title="Data type", description="Compute dtype; auto uses the model's own."
    )
    cache_type: Literal["auto", "fp8"] = Field(
        "auto",
        title="KV cache dtype",
        description="fp8 holds twice as many tokens in the same memory, on GPUs that support it.",
    )
    tensor_parallel: int | None = Field(
        None,
        ge=1,
        le=16,
        title="Tensor parallel",
        description="Number of GPUs of one host that the model is split across. Leave empty for as few as can hold it.",
    )
    compile: bool = Field(
        False,
        title="torch.compile and CUDA graphs",
        description="Faster inference, but startup takes a minute or more longer; needs a compiler in the image. "
        "Off is eager mode.",
    )
    prefix_caching: bool = Field(
        True, title="Prefix caching", description="Requests with the same prefix share KV cache."
    )
