"""Models of many architectures in miniature (and SmolLM2 in full): real geometry, no weights."""

from collections.abc import Callable

from tests.catalog.gguf_builder import Gguf


def _start(
    architecture: str,
    layers: int,
    embedding: int,
    heads: int,
    kv_heads: int,
    width: int,
    vocabulary: int,
    **numbers: int,
) -> Gguf:
    model = Gguf().text("general.architecture", architecture).text("tokenizer.ggml.model", "no_vocab")
    named = {
        "block_count": layers,
        "context_length": 32768,
        "embedding_length": embedding,
        "feed_forward_length": width,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "vocab_size": vocabulary,
    }
    for name, number in (named | numbers).items():
        model.number(f"{architecture}.{name.replace('__', '.')}", number)
    model.keys.append((f"{architecture}.attention.layer_norm_rms_epsilon", 6, 1e-5))
    return model


def _feed_forward(model: Gguf, block: str, embedding: int, width: int, kind: str = "F32", experts: int = 0) -> None:
    model.tensor(f"{block}.ffn_norm.weight", embedding)
    if not experts:
        model.tensor(f"{block}.ffn_gate.weight", embedding, width, kind=kind)
        model.tensor(f"{block}.ffn_up.weight", embedding, width, kind=kind)
        model.tensor(f"{block}.ffn_down.weight", width, embedding, kind=kind)
        return
    model.tensor(f"{block}.ffn_gate_inp.weight", embedding, experts)
    model.tensor(f"{block}.ffn_gate_exps.weight", embedding, width, experts, kind=kind)
    model.tensor(f"{block}.ffn_up_exps.weight", embedding, width, experts, kind=kind)
    model.tensor(f"{block}.ffn_down_exps.weight", width, embedding, experts, kind=kind)


def llama(
    layers: int = 4,
    embedding: int = 256,
    heads: int = 8,
    kv_heads: int = 2,
    width: int = 512,
    vocabulary: int = 1024,
    kind: str = "F32",
    embedding_kind: str = "",
    tied: bool = False,
    experts: int = 0,
    active: int = 0,
) -> Gguf:
    head = embedding // heads
    extra = {"rope__dimension_count": head}
    if experts:
        extra |= {"expert_count": experts, "expert_used_count": active}
    model = _start("llama", layers, embedding, heads, kv_heads, width, vocabulary, **extra)
    model.tensor("token_embd.weight", embedding, vocabulary, kind=embedding_kind or kind)
    model.tensor("output_norm.weight", embedding)
    if not tied:
        model.tensor("output.weight", embedding, vocabulary, kind=kind)
    for layer in range(layers):
        block = f"blk.{layer}"
        model.tensor(f"{block}.attn_norm.weight", embedding)
        model.tensor(f"{block}.attn_q.weight", embedding, heads * head, kind=kind)
        model.tensor(f"{block}.attn_k.weight", embedding, kv_heads * head, kind=kind)
        model.tensor(f"{block}.attn_v.weight", embedding, kv_heads * head, kind=kind)
        model.tensor(f"{block}.attn_output.weight", heads * head, embedding, kind=kind)
        _feed_forward(model, block, embedding, width, kind, experts)
    return model


def gemma(architecture: str, window: int = 512) -> Gguf:
    embedding, heads, kv_heads, head, width = 256, 4, 2, 64, 512
    lengths = {"attention__key_length": head, "attention__value_length": head, "attention__sliding_window": window}
    model = _start(architecture, 12, embedding, heads, kv_heads, width, 1024, **lengths)
    model.tensor("token_embd.weight", embedding, 1024).tensor("output_norm.weight", embedding)
    for layer in range(12):
        block = f"blk.{layer}"
        model.tensor(f"{block}.attn_norm.weight", embedding)
        model.tensor(f"{block}.attn_q.weight", embedding, heads * head)
        model.tensor(f"{block}.attn_k.weight", embedding, kv_heads * head)
        model.tensor(f"{block}.attn_v.weight", embedding, kv_heads * head)
        model.tensor(f"{block}.attn_output.weight", heads * head, embedding)
        model.tensor(f"{block}.post_attention_norm.weight", embedding)
        model.tensor(f"{block}.post_ffw_norm.weight", embedding)
        if architecture == "gemma3":
            model.tensor(f"{block}.attn_q_norm.weight", head).tensor(f"{block}.attn_k_norm.weight", head)
        _feed_forward(model, block, embedding, width)
    return model


def deepseek() -> Gguf:
    """Latent attention: one small vector per token instead of keys and values."""
    layers, embedding, heads, width, rank, query_rank, rope, plain, values = 4, 256, 4, 512, 128, 96, 32, 64, 64
    numbers = {
        "attention__key_length": rank + rope,
        "attention__value_length": rank,
        "attention__key_length_mla": plain + rope,
        "attention__value_length_mla": values,
        "attention__kv_lora_rank": rank,
        "attention__q_lora_rank": query_rank,
        "rope__dimension_count": rope,
        "leading_dense_block_count": layers,
        "expert_feed_forward_length": 64,
        "expert_shared_count": 0,
    }
    model = _start("deepseek2", layers, embedding, heads, 1, width, 1024, **numbers)
    model.tensor("token_embd.weight", embedding, 1024).tensor("output_norm.weight", embedding)
    for layer in range(layers):
        block = f"blk.{layer}"
        model.tensor(f"{block}.attn_norm.weight", embedding).tensor(f"{block}.attn_q_a_norm.weight", query_rank)
        model.tensor(f"{block}.attn_kv_a_norm.weight", rank).tensor(f"{block}.attn_q_a.weight", embedding, query_rank)
        model.tensor(f"{block}.attn_q_b.weight", query_rank, heads * (plain + rope))
        model.tensor(f"{block}.attn_kv_a_mqa.weight", embedding, rank + rope)
        model.tensor(f"{block}.attn_k_b.weight", plain, rank, heads)
        model.tensor(f"{block}.attn_v_b.weight", rank, values, heads)
        model.tensor(f"{block}.attn_output.weight", heads * values, embedding)
        _feed_forward(model, block, embedding, width)
    return model


def mamba() -> Gguf:
    """No cache at all: a state per sequence."""
    layers, embedding, inner, state, kernel, step = 6, 256, 512, 16, 4, 16
    numbers = {
        "ssm__conv_kernel": kernel,
        "ssm__inner_size": inner,
        "ssm__state_size": state,
        "ssm__time_step_rank": step,
    }
    model = _start("mamba", layers, embedding, 0, 0, 0, 1024, **numbers)
    model.tensor("token_embd.weight", embedding, 1024).tensor("output_norm.weight", embedding)
    for layer in range(layers):
        block = f"blk.{layer}"
        model.tensor(f"{block}.attn_norm.weight", embedding).tensor(f"{block}.ssm_in.weight", embedding, 2 * inner)
        model.tensor(f"{block}.ssm_conv1d.weight", kernel, inner).tensor(f"{block}.ssm_conv1d.bias", inner)
        model.tensor(f"{block}.ssm_x.weight", inner, step + 2 * state)
        model.tensor(f"{block}.ssm_dt.weight", step, inner).tensor(f"{block}.ssm_dt.bias", inner)
        model.tensor(f"{block}.ssm_a", state, inner).tensor(f"{block}.ssm_d", inner)
        model.tensor(f"{block}.ssm_out.weight", inner, embedding)
    return model


SHAPES: dict[str, Callable[[], Gguf]] = {
    "smollm2": lambda: llama(30, 576, 9, 3, 1536, 49152, kind="Q4_1", embedding_kind="Q8_0", tied=True),
    "llama": llama,
    "llama_q4_0": lambda: llama(8, 512, 8, 2, 1024, 8192, kind="Q4_0"),
    "llama_q4_k": lambda: llama(8, 512, 8, 2, 1024, 8192, kind="Q4_K"),
    "llama_q6_k": lambda: llama(8, 512, 8, 2, 1024, 8192, kind="Q6_K"),
    "llama_mxfp4": lambda: llama(8, 512, 8, 2, 1024, 8192, kind="MXFP4"),
    "large_vocabulary": lambda: llama(vocabulary=131072),
    "mixture": lambda: llama(experts=8, active=2),
    "gemma2": lambda: gemma("gemma2"),
    "gemma3": lambda: gemma("gemma3"),
    "deepseek2": deepseek,
    "mamba": mamba,
}
