"""What people may choose about llama.cpp's server."""

from typing import ClassVar, Literal

from pydantic import Field

from webapp.engines.base import EngineOptions

CacheType = Literal["f16", "bf16", "f32", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]


class LlamaCppOptions(EngineOptions):
    """What people may choose about a llama.cpp server."""

    basic: ClassVar[tuple[str, ...]] = (
        "context_length",
        "parallel_slots",
        "cache_type_k",
        "cache_type_v",
        "gpu_layers",
    )

    context_length: int = Field(
        4096,
        ge=256,
        le=1_048_576,
        title="Context length",
        description="Max tokens per request (prompt + output). Every slot gets as many; the KV cache grows "
        "with both. Rounded up to a multiple of 256.",
    )
    parallel_slots: int = Field(
        2,
        ge=1,
        le=64,
        title="Parallel requests (slots)",
        description="Requests processed concurrently (-np); the rest are queued.",
    )
    threads: int | None = Field(
        None, ge=1, le=512, title="CPU threads", description="Leave empty to use all CPUs assigned to this replica."
    )
    batch_size: int = Field(
        2048,
        ge=32,
        le=16384,
        title="Batch size",
        description="Logical batch (-b): max prompt tokens per step, over all slots.",
    )
    micro_batch_size: int = Field(
        512,
        ge=32,
        le=16384,
        title="Micro-batch size",
        description="Physical batch (-ub): prompt tokens per forward pass. Larger is faster on GPUs and needs larger "
        "compute buffers.",
    )
    cache_type_k: CacheType = Field(
        "f16", title="KV cache type (K)", description="q8_0 halves the memory of f16 with negligible quality loss."
    )
    cache_type_v: CacheType = Field(
        "f16", title="KV cache type (V)", description="A quantised V cache requires flash attention."
    )
    gpu_layers: int = Field(
        -1,
        ge=-1,
        le=4096,
        title="GPU layers",
        description="-ngl; -1 offloads all layers, fewer is partial offload, for when VRAM is short. Ignored "
        "without a GPU.",
    )
    flash_attention: Literal["auto", "on", "off"] = Field(
        "auto", title="Flash attention", description="Reduces memory use; auto enables it where supported."
    )
    memory_map: bool = Field(
        True,
        title="Memory-map weights (mmap)",
        description="Starts faster and shares memory between replicas; off loads the whole file into RAM.",
    )
    embeddings: bool = Field(
        False,
        title="Embeddings endpoint",
        description="Serves /v1/embeddings as well. Models that generate no text always do.",
    )
    pooling: Literal["model", "mean", "cls", "last", "rank"] = Field(
        "model",
        title="Embedding pooling",
        description="How token vectors are pooled into one. model uses the model's default, or the mean if it has "
        "none; rank is for reranking models, which serve /v1/rerank instead of /v1/embeddings.",
    )
    prompt_cache_mib: int = Field(
        0,
        ge=0,
        le=1_048_576,
        title="Prompt cache in RAM (MiB)",
        description="RAM for cached prompts, so that earlier conversations resume faster. Counted in full in the "
        "replica's memory.",
    )
    context_checkpoints: int = Field(
        4,
        ge=0,
        le=32,
        title="Context checkpoints",
        description="Per slot: saved states that let models with sliding-window attention or recurrent layers go "
        "back in a conversation without reprocessing the prompt. No effect on other models.",
    )
