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
        description="Tokens one request may use, prompt and answer together. Every slot gets as many; "
        "the cache grows with both. Rounded up to a multiple of 256.",
    )
    parallel_slots: int = Field(
        2, ge=1, le=64, title="Slots", description="Requests computed at the same time; further ones wait their turn."
    )
    threads: int | None = Field(
        None, ge=1, le=512, title="CPU threads", description="Empty: as many as the CPUs this replica may use."
    )
    batch_size: int = Field(
        2048, ge=32, le=16384, title="Batch", description="Prompt tokens taken up at once, over all slots."
    )
    micro_batch_size: int = Field(
        512,
        ge=32,
        le=16384,
        title="Micro batch",
        description="Prompt tokens computed in one pass. Larger is faster on GPUs and takes more working memory.",
    )
    cache_type_k: CacheType = Field(
        "f16", title="Cache type of keys", description="q8_0 takes half the memory of f16 at hardly any loss."
    )
    cache_type_v: CacheType = Field(
        "f16", title="Cache type of values", description="Anything below 16 bits needs flash attention."
    )
    gpu_layers: int = Field(
        -1,
        ge=-1,
        le=4096,
        title="Layers on the GPU",
        description="-1 puts all layers there; fewer let a model run that does not fit. No effect without a GPU.",
    )
    flash_attention: Literal["auto", "on", "off"] = Field(
        "auto", title="Flash attention", description="Attention that needs less memory; auto uses it where it can."
    )
    memory_map: bool = Field(
        True,
        title="Map the file into memory",
        description="Starts faster and shares the pages between replicas; off reads the whole file into memory.",
    )
    embeddings: bool = Field(
        False,
        title="Serve embeddings",
        description="Answers /v1/embeddings as well. Models that write no text always do.",
    )
    pooling: Literal["model", "mean", "cls", "last", "rank"] = Field(
        "model",
        title="Pooling of embeddings",
        description="How the vectors of the tokens become one. model: as the file says, the mean where it does not. "
        "rank: for reranking models, which answer /v1/rerank instead of /v1/embeddings.",
    )
    prompt_cache_mib: int = Field(
        0,
        ge=0,
        le=1_048_576,
        title="Prompt cache (MiB)",
        description="Host memory for prompts of earlier conversations, so that they continue faster. "
        "Counted in full in the memory of the replica.",
    )
    context_checkpoints: int = Field(
        4,
        ge=0,
        le=32,
        title="Context checkpoints",
        description="Per slot: saved states that let models with sliding windows or recurrent layers go back in a "
        "conversation without computing it again. Other models make none.",
    )
