"""Options to begin with."""

from webapp.engines.base import Preset

PRESETS = (
    Preset("chat", "Chat, one user", "A long conversation for one person at a time.",
           {"context_length": 8192, "parallel_slots": 1}),
    Preset("many", "Many users", "Eight requests at a time, each of moderate length.",
           {"context_length": 4096, "parallel_slots": 8}),
    Preset("long", "Long context", "Whole documents in one prompt, with a quantised KV cache.",
           {"context_length": 32768, "parallel_slots": 1, "cache_type_k": "q8_0", "cache_type_v": "q8_0",
            "flash_attention": "on"}),
    Preset("small", "Small memory", "Minimal memory: short context, one request at a time.",
           {"context_length": 2048, "parallel_slots": 1, "batch_size": 512, "micro_batch_size": 128,
            "cache_type_k": "q8_0", "cache_type_v": "q8_0", "flash_attention": "on", "context_checkpoints": 0}),
)  # fmt: skip
