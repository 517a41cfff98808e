"""What config.json says of a model whose weights are safetensors. Pure; a hostile config costs a clear refusal.

Names are those of Hugging Face's transformers (PretrainedConfig of the Llama family, which the others follow).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from webapp.catalog.safetensors import BITS, Header
from webapp.foundation.text import one_line
from webapp.planner.facts import KvGroup, ModelFacts

MAX_CONFIG_BYTES = 2 * 2**20
MOST = 2**40


class ConfigError(ValueError):
    """The config cannot be used; the message says why."""


def read_config(raw: bytes) -> dict[str, Any]:
    """config.json as an object. Raises ConfigError."""
    if len(raw) > MAX_CONFIG_BYTES:
        raise ConfigError("config.json is larger than any known model's.")
    try:
        config = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ConfigError("config.json is not sound JSON.") from error
    if not isinstance(config, dict):
        raise ConfigError("config.json is not an object.")
    return config


def quantisation(config: Mapping[str, Any], headers: Sequence[Header] = ()) -> str:
    """The name that people use: AWQ 4-bit, FP8, BF16; empty when nothing tells."""
    found = config.get("quantization_config")
    if isinstance(found, dict):
        method = one_line(found.get("quant_method") or found.get("quant_algo") or "")
        bits = _bits(found)
        name = {"compressed-tensors": _compressed(found), "fbgemm_fp8": "FP8"}.get(method, method.upper())
        return (f"{name} {bits}-bit" if bits and not any(c.isdigit() for c in name) else name)[:20]
    sizes: dict[str, int] = {}
    for header in headers:
        for tensor in header.tensors:
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size_bytes
    if sizes:
        return max(sizes, key=lambda dtype: sizes[dtype])
    dtype = str(_text_part(config).get("torch_dtype") or _text_part(config).get("dtype") or "")
    return {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}.get(dtype.removeprefix("torch."), "")


def facts(config: Mapping[str, Any], headers: Sequence[Header], name: str = "", licence: str = "") -> ModelFacts:
    """What the planner needs. Raises ConfigError when the config names no architecture or makes no sense."""
    part = _text_part(config)
    architecture = config.get("model_type") or part.get("model_type")
    architecture = one_line(architecture) if isinstance(architecture, str) else ""
    if not architecture or len(architecture) > 60:
        raise ConfigError("config.json names no model_type.")
    layers = _whole(part, "num_hidden_layers", "n_layer", "n_layers", "num_layers")
    heads = _whole(part, "num_attention_heads", "n_head", "n_heads")
    kv_heads = _whole(part, "num_key_value_heads", "num_kv_heads", "n_head_kv") or heads
    embedding = _whole(part, "hidden_size", "n_embd", "d_model")
    head = _whole(part, "head_dim") or (embedding // heads if heads else 0)
    window = _whole(part, "sliding_window") if part.get("use_sliding_window", True) else 0
    sizes = [tensor.size_bytes for header in headers for tensor in header.tensors]
    latent, rope = _whole(part, "kv_lora_rank"), _whole(part, "qk_rope_head_dim")
    # Latent attention (DeepSeek) keeps one compressed row per token and layer.
    key, value = (latent + rope, 0) if latent else (kv_heads * head, kv_heads * head)
    return ModelFacts(
        architecture=architecture,
        name=one_line(name)[:200],
        quantisation=quantisation(config, headers),
        parameters=_parameters(config, headers),
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        key_length=head,
        value_length=head,
        embedding_length=embedding,
        feed_forward_length=_whole(part, "intermediate_size", "n_inner", "ffn_dim"),
        vocabulary=_whole(part, "vocab_size"),
        context_length=_whole(part, "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"),
        sliding_window=window,
        experts=_whole(part, "num_local_experts", "n_routed_experts", "num_experts"),
        experts_used=_whole(part, "num_experts_per_tok"),
        kv_groups=(KvGroup(layers, key, value),) if layers and key else (),
        kv_basis="config" if layers and key else "estimate",
        weights_bytes=sum(sizes),
        mapped_bytes=sum(sizes),
        split_parts=max(len(headers), 1),
        licence=one_line(licence)[:200],
    )


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Models that see or hear keep their language model's numbers one level down."""
    part = config.get("text_config") or config.get("llm_config")
    return part if isinstance(part, dict) else config


def _whole(part: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = part.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value:
            if not 0 < value < MOST:
                raise ConfigError(f"config.json says {name} is {value}: that makes no sense.")
            return value
    return 0


def _bits(found: Mapping[str, Any]) -> int:
    bits = found.get("bits") or found.get("w_bit")
    if isinstance(bits, int) and 0 < bits <= 16:
        return bits
    groups = found.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        bits = weights.get("num_bits") if isinstance(weights, dict) else None
        if isinstance(bits, int) and 0 < bits <= 16:
            return bits
    return 0


def _compressed(found: Mapping[str, Any]) -> str:
    form = str(found.get("format") or "")
    return {"float-quantized": "FP8", "int-quantized": "W8A8 INT8", "pack-quantized": "packed"}.get(form, "compressed")


def _parameters(config: Mapping[str, Any], headers: Sequence[Header]) -> int:
    """Elements of all tensors; packed integers count for as many weights as they hold, scales for none."""
    found = config.get("quantization_config")
    bits = _bits(found) if isinstance(found, dict) else 0
    total = 0
    for header in headers:
        for tensor in header.tensors:
            is_extra = tensor.name.endswith(
                ("scales", "_scale", "_scale_inv", "qzeros", "g_idx", "weight_shape", "zero_point")
            )
            if bits and is_extra:
                continue
            is_packed = bits and tensor.dtype in ("I32", "U32", "U8") and tensor.name.endswith(("weight", "packed"))
            total += tensor.elements * BITS[tensor.dtype] // bits if is_packed else tensor.elements
    return total
