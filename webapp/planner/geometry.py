"""The shape of a GGUF model as llama.cpp reads it: which layers cache what, and which keep a recurrent state.

Every rule restates one of llama.cpp at 0c1e57098: src/llama-model.cpp (load_hparams, create_memory),
src/llama-hparams.cpp, src/llama-kv-cache-iswa.cpp and the hyperparameters of src/models/<architecture>.cpp.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

from webapp.planner.facts import Basis, KvGroup

MAX_LAYERS = 4096
MAX_LENGTH = 2**31


class Sliding(NamedTuple):
    """How an architecture spreads sliding windows over its layers."""

    period: int  # every period-th layer sees everything; 0: only a per-layer list in the header says
    dense_first: bool = False  # the seeing layer is the first of each period instead of the last
    window: int = 0  # when the header gives none
    fixed_window: int = 0  # whatever the header gives
    optional: bool = False  # no window in the header: no sliding layers at all


# phi3 and the plain "llama" architecture carry windows in some headers that llama.cpp does not use: absent here.
SLIDING: dict[str, Sliding] = {
    "afmoe": Sliding(4, optional=True),
    "cohere2": Sliding(4),
    "cohere2moe": Sliding(4, dense_first=True),
    "exaone-moe": Sliding(4, window=128),
    "exaone4": Sliding(4, window=4096),
    "gemma2": Sliding(2, window=4096),
    "gemma3": Sliding(6, optional=True),
    "gemma3n": Sliding(5),
    "gemma4": Sliding(0),
    "gpt-oss": Sliding(2),
    "granite_swa": Sliding(0),
    "laguna": Sliding(4, dense_first=True, optional=True),
    "llama4": Sliding(4, window=8192, fixed_window=8192),
    "maple": Sliding(0),
    "mellum": Sliding(4, optional=True),
    "mimo2": Sliding(0),
    "muse-glimmer": Sliding(4),
    "olmo2": Sliding(4, optional=True),
    "plamo3": Sliding(8, optional=True),
    "smallthinker": Sliding(4, dense_first=True, fixed_window=4096, optional=True),
    "spark2_5": Sliding(0),
    "step35": Sliding(0),
}

ENCODERS = frozenset(
    [
        "bert",
        "modern-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "neo-bert",
        "jina-bert-v2",
        "jina-bert-v3",
        "eurobert",
        "gemma-embedding",
        "t5encoder",
    ]
)
WITHOUT_CACHE = ENCODERS | {"dream", "llada", "llada-moe", "rnd1", "wavtokenizer-dec"}
RECURRENT = frozenset(["mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"])
# Recurrent where the header gives a layer no key-value heads.
MIXED_BY_HEADS = frozenset(["jamba", "plamo2", "granitehybrid", "nemotron_h", "nemotron_h_moe", "lfm2", "lfm2moe"])
# Recurrent except every n-th layer.
MIXED_BY_INTERVAL = frozenset(["qwen3next", "qwen35", "qwen35moe"])
# Further caches (indexers, compressors, linear attention) that the groups here do not describe.
UNDESCRIBED = frozenset(
    [
        "bailingmoe3",
        "deepseek32",
        "deepseek4",
        "dflash",
        "dots3note",
        "eagle3",
        "gemma4-assistant",
        "glm-dsa",
        "glm5-next",
        "hy_v4",
        "kimi-k3",
        "kimi-linear",
        "minimax-01",
        "minimax-m3",
        "nanbeige",
        "qwen4exp",
        "t5",
    ]
)


class Lengths(TypedDict):
    """The part of ModelFacts that the geometry gives."""

    layers: int
    heads: int
    kv_heads: int
    key_length: int
    value_length: int
    embedding_length: int
    feed_forward_length: int
    vocabulary: int
    context_length: int
    sliding_window: int
    experts: int
    experts_used: int
    kv_groups: tuple[KvGroup, ...]
    kv_basis: Basis
    recurrent_bytes: int
    generates: bool
    split_parts: int


@dataclass(frozen=True, slots=True)
class Shape:
    """Reads the geometry out of the header's whole numbers (`numbers`: key -> its one value, or its list).

    Raises ValueError when a number cannot be what its key says.
    """

    architecture: str
    numbers: Mapping[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        if not 0 <= self.all_layers <= MAX_LAYERS or not 0 <= self.layers <= self.all_layers:
            raise ValueError(f"{self.all_layers} layers, {self.integer('nextn_predict_layers')} of them extra")

    def plain_integer(self, key: str, default: int = 0) -> int:
        """The value of a key that carries no architecture prefix; the first one of a list."""
        values = self.numbers.get(key, ())
        value = values[0] if values else default
        if not 0 <= value <= MAX_LENGTH:
            raise ValueError(f"{key} is {value}")
        return value

    def integer(self, key: str, default: int = 0) -> int:
        """The value of "<architecture>.<key>"; the first one of a list."""
        return self.plain_integer(f"{self.architecture}.{key}", default)

    def has(self, key: str) -> bool:
        return f"{self.architecture}.{key}" in self.numbers

    def per_layer(self, key: str, default: int = 0) -> list[int]:
        """One value per layer: the list itself, or the one value for all."""
        values = self.numbers.get(f"{self.architecture}.{key}", ())
        if len(values) <= 1:
            return [self.integer(key, default)] * self.all_layers
        if len(values) < self.layers or any(not 0 <= value <= MAX_LENGTH for value in values):
            raise ValueError(f"{key} lists {len(values)} layers of {self.layers}")
        return list(values) + [values[-1]] * (self.all_layers - len(values))

    @property
    def all_layers(self) -> int:
        return self.integer("block_count")

    @property
    def layers(self) -> int:
        """Without the extra ones that predict further tokens: those are not loaded."""
        extra = self.integer("nextn_predict_layers")
        return self.all_layers - extra if extra < self.all_layers else self.all_layers

    @property
    def head_counts(self) -> list[int]:
        return self.per_layer("attention.head_count")

    @property
    def kv_head_counts(self) -> list[int]:
        """As the header says; without an entry every head has its own keys and values."""
        return self.per_layer("attention.head_count_kv") if self.has("attention.head_count_kv") else self.head_counts

    def _head_length(self, key: str) -> int:
        heads = self.head_counts
        return self.integer(key, self.integer("embedding_length") // heads[0] if heads and heads[0] else 0)

    @property
    def key_length(self) -> int:
        return self._head_length("attention.key_length")

    @property
    def value_length(self) -> int:
        return self._head_length("attention.value_length")

    def window(self) -> int:
        """The sliding window that llama.cpp uses, 0 for none."""
        rule = SLIDING.get(self.architecture)
        given = self.integer("attention.sliding_window")
        if rule is None or (rule.optional and not given):
            return 0
        if self.architecture == "exaone4" and self.layers != 64:  # only the 32B has sliding layers
            return 0
        if self.architecture == "llama4" and self.has("attention.sliding_window") and not given:
            return 0
        return rule.fixed_window or given or rule.window

    def sliding_layers(self) -> list[bool]:
        """Which layers see only the window."""
        if not self.window():
            return [False] * self.layers
        rule = SLIDING[self.architecture]
        pattern = self.numbers.get(f"{self.architecture}.attention.sliding_window_pattern", ())
        if len(pattern) > 1:
            return [bool(value) for value in self.per_layer("attention.sliding_window_pattern")[: self.layers]]
        period = self.integer("attention.sliding_window_pattern", rule.period)
        if not period:
            return [True] * self.layers
        seeing = 0 if rule.dense_first else period - 1
        return [layer % period != seeing for layer in range(self.layers)]

    def recurrent_layers(self) -> list[bool]:
        """Which layers keep a state instead of (falcon-h1: beside) a cache."""
        if self.architecture in RECURRENT or self.architecture == "falcon-h1":
            return [True] * self.layers
        if self.architecture in MIXED_BY_HEADS:
            recurrent = [heads == 0 for heads in self.kv_head_counts[: self.layers]]
            if self.architecture.startswith("nemotron_h"):
                widths = self.per_layer("feed_forward_length")
                recurrent = [state and width == 0 for state, width in zip(recurrent, widths, strict=False)]
            return recurrent
        if self.architecture in MIXED_BY_INTERVAL:
            interval = self.integer("full_attention_interval", 4) or 4
            return [(layer + 1) % interval != 0 for layer in range(self.layers)]
        return [False] * self.layers

    def recurrent_bytes(self) -> int:
        """State of one sequence over all recurrent layers; llama.cpp keeps it as 32-bit floats."""
        layers = sum(self.recurrent_layers())
        if not layers:
            return 0
        embedding, head = self.integer("embedding_length"), self.integer("wkv.head_size")
        if head:
            row = self.integer("token_shift_count", 2) * embedding + embedding * head
        elif self.has("shortconv.l_cache"):
            row = embedding * max(0, self.integer("shortconv.l_cache") - 1)
        else:
            inner, state = self.integer("ssm.inner_size"), self.integer("ssm.state_size")
            kernel = max(0, self.integer("ssm.conv_kernel") - 1)
            row = kernel * (inner + 2 * self.integer("ssm.group_count") * state) + state * inner
        return layers * row * 4

    def kv_groups(self) -> tuple[KvGroup, ...]:
        """The layers with a cache, grouped by what one token takes in them."""
        if self.architecture in WITHOUT_CACHE | RECURRENT:
            return ()
        latent = self.has("attention.key_length_mla") and self.has("attention.value_length_mla")
        key, value = self.key_length, self.value_length
        sliding_key = self.integer("attention.key_length_swa", key)
        sliding_value = self.integer("attention.value_length_swa", value)
        recurrent = self.recurrent_layers() if self.architecture != "falcon-h1" else [False] * self.layers
        cached = self._cached_layers()
        groups: dict[tuple[int, int, int], int] = {}
        heads = self.kv_head_counts
        for layer, sliding in enumerate(self.sliding_layers()):
            if recurrent[layer] or layer >= cached or not heads[layer]:
                continue
            keys = heads[layer] * (sliding_key if sliding else key)
            values = 0 if latent else heads[layer] * (sliding_value if sliding else value)
            row = (keys, values, self.window() if sliding else 0)
            groups[row] = groups.get(row, 0) + 1
        return tuple(KvGroup(count, keys, values, window) for (keys, values, window), count in groups.items())

    def _cached_layers(self) -> int:
        """Layers from here on reuse the caches of earlier ones."""
        if self.architecture == "gemma3n":
            return 20
        if self.architecture == "gemma4":
            return self.all_layers - self.integer("attention.shared_kv_layers")
        return self.layers

    def lengths(self, tokens: int | None = None) -> Lengths:
        """All of it, as the keyword arguments of ModelFacts; `tokens` is the length of the tokenizer's list."""
        heads, kv_heads = self.head_counts, self.kv_head_counts
        return {
            "layers": self.layers,
            "heads": max(heads, default=0),
            "kv_heads": max(kv_heads, default=0),
            "key_length": self.key_length,
            "value_length": self.value_length,
            "embedding_length": self.integer("embedding_length"),
            "feed_forward_length": max(self.per_layer("feed_forward_length"), default=0),
            "vocabulary": self.integer("vocab_size") if tokens is None else tokens,
            "context_length": self.integer("context_length"),
            "sliding_window": self.window(),
            "experts": self.integer("expert_count"),
            "experts_used": self.integer("expert_used_count"),
            "kv_groups": self.kv_groups(),
            "kv_basis": "estimate" if self.architecture in UNDESCRIBED else "exact",
            "recurrent_bytes": self.recurrent_bytes(),
            "generates": self.architecture not in ENCODERS,
            "split_parts": max(1, self.plain_integer("split.count")),
        }
