"""llama-server's command line, as far as the prebuilt server library can honour it.

Names, environment variables and defaults follow llama.cpp's `common/arg.cpp` (commit 0c1e57098), so that one engine
adapter drives both the official image and this one. A flag that is not in the table is refused, never ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Setter = Callable[[Any, str], None]
TRUE_WORDS = {"1", "on", "true", "enabled"}
FALSE_WORDS = {"0", "off", "false", "disabled"}


class FlagError(ValueError):
    """The command line cannot be used; the text is the line llama-server would print."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: its spellings, its LLAMA_ARG_* variable, and what it does to the parameters."""

    names: tuple[str, ...]
    apply: Setter
    help: str
    env: str | None = None
    takes_value: bool = True
    negative: tuple[str, ...] = ()


def parse(argv: Sequence[str], environ: Mapping[str, str], params: Any) -> None:
    """Apply the environment, then argv, to `params`; raise FlagError on the first thing that is not understood."""
    table = {name: (flag, False) for flag in FLAGS for name in flag.names}
    table.update({name: (flag, True) for flag in FLAGS for name in flag.negative})
    for flag in FLAGS:
        if flag.env and flag.env in environ:
            _apply(flag, flag.env, environ[flag.env], params)
    words = iter(argv)
    for word in words:
        # llama.cpp reads --some_flag as --some-flag.
        name = word.replace("_", "-") if word.startswith("--") else word
        if name not in table:
            raise FlagError(f"error: invalid argument: {word}")
        flag, is_negative = table[name]
        if not flag.takes_value:
            _apply(flag, word, "off" if is_negative else "on", params)
            continue
        value = next(words, None)
        if value is None:
            raise FlagError(f'error while handling argument "{word}": expected value for argument')
        _apply(flag, word, value, params)


def _apply(flag: Flag, shown: str, value: str, params: Any) -> None:
    try:
        flag.apply(params, value)
    except (ValueError, OverflowError, TypeError, AssertionError, OSError) as error:
        raise FlagError(f'error while handling argument "{shown}": {error}') from error


def usage() -> str:
    """The help text: one line a flag."""
    lines = ["usage: llama-server [options]", ""]
    for flag in FLAGS:
        spelling = ", ".join(flag.names + flag.negative) + (" VALUE" if flag.takes_value else "")
        lines.append(f"{spelling:<48} {flag.help}" + (f" (env: {flag.env})" if flag.env else ""))
    return "\n".join([*lines, f"{'-h, --help':<48} this text", f"{'--version':<48} version and build"])


# --- what values mean ---


def on_off(value: str) -> bool:
    """True or False for llama.cpp's words for them."""
    word = value.lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError(f"unknown value '{value}', expected on or off")


def _target(params: Any, path: str) -> tuple[Any, str]:
    *parents, last = path.split(".")
    for name in parents:
        params = getattr(params, name)
    return params, last


def number(path: str) -> Setter:
    """A setter for a whole number."""

    def apply(params: Any, value: str) -> None:
        target, name = _target(params, path)
        setattr(target, name, int(value))

    return apply


def real(path: str) -> Setter:
    """A setter for a floating point number."""

    def apply(params: Any, value: str) -> None:
        target, name = _target(params, path)
        setattr(target, name, float(value))

    return apply


def text(path: str) -> Setter:
    """A setter for a string."""

    def apply(params: Any, value: str) -> None:
        target, name = _target(params, path)
        setattr(target, name, value)

    return apply


def switch(path: str, *, inverted: bool = False) -> Setter:
    """A setter for a boolean; `inverted` for fields that say no."""

    def apply(params: Any, value: str) -> None:
        target, name = _target(params, path)
        setattr(target, name, on_off(value) is not inverted)

    return apply


def choice(path: str, enum: str, prefix: str, words: Mapping[str, str]) -> Setter:
    """A setter for one of the library's enums; `words` maps what people write to the member after `prefix`."""

    def apply(params: Any, value: str) -> None:
        import xllamacpp

        if value not in words:
            raise ValueError(f"unknown value '{value}', expected one of: {', '.join(words)}")
        target, name = _target(params, path)
        setattr(target, name, getattr(getattr(xllamacpp, enum), prefix + words[value]))

    return apply


def words_of(path: str, kind: type) -> Setter:
    """A setter for a comma-separated list (or set)."""

    def apply(params: Any, value: str) -> None:
        target, name = _target(params, path)
        setattr(target, name, kind(word.strip() for word in value.split(",") if word.strip()))

    return apply


def gpu_layers(params: Any, value: str) -> None:
    """-ngl takes a number, `auto` (fit) or `all`."""
    params.n_gpu_layers = {"auto": -1, "all": -2}.get(value) or int(value)


def parallel(params: Any, value: str) -> None:
    """-np -1 is llama-server's automatic choice: four slots over one shared cache."""
    slots = int(value)
    if slots == 0 or slots < -1:
        raise ValueError("the number of slots must be at least 1, or -1 for automatic")
    params.n_parallel = 4 if slots == -1 else slots
    params.kv_unified = slots == -1


def read_timeouts(params: Any, value: str) -> None:
    """One flag sets both directions, as in llama-server."""
    params.timeout_read = params.timeout_write = int(value)


def api_key_file(params: Any, value: str) -> None:
    """One key a line."""
    with open(value, encoding="utf-8") as file:  # noqa: PTH123 - the image's program uses as little as it can
        params.api_keys = [*params.api_keys, *(line.strip() for line in file if line.strip())]


def tensor_split(params: Any, value: str) -> None:
    """Shares a device, padded to the library's fixed length."""
    shares = [float(share) for share in value.replace("/", ",").split(",")]
    params.tensor_split = shares + [0.0] * (len(params.tensor_split) - len(shares))


def seed(params: Any, value: str) -> None:
    """-1 is a random seed, kept by llama.cpp as the largest unsigned number."""
    params.sampling.seed = int(value) % 2**32


def load_mode(mode: str, default: str = "AUTO") -> Setter:
    """--mlock, --mmap and --no-mmap are older spellings of --load-mode."""

    def apply(params: Any, value: str) -> None:
        import xllamacpp

        params.load_mode = getattr(xllamacpp.llama_load_mode, "LLAMA_LOAD_MODE_" + (mode if on_off(value) else default))

    return apply


CACHE_TYPES = {name: name.upper() for name in ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")}
POOLING = {name: name.upper() for name in ("none", "mean", "cls", "last", "rank")}
LOADING = {"auto": "AUTO", "mmap": "MMAP", "mlock": "MMAP_MLOCK", "none": "NONE", "dio": "DIRECT_IO"}
FLASH = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}
REASONING = {"none": "NONE", "auto": "AUTO", "deepseek": "DEEPSEEK", "deepseek-legacy": "DEEPSEEK_LEGACY"}
ROPE = {name: name.upper() for name in ("none", "linear", "yarn")}
SPLIT = {name: name.upper() for name in ("none", "layer", "row", "tensor")}
NUMA = {name: name.upper() for name in ("distribute", "isolate", "numactl")}


def _flag(names: str, apply: Setter, help_text: str, env: str | None = None) -> Flag:
    return Flag(tuple(names.split()), apply, help_text, env)


def _switch(names: str, apply: Setter, help_text: str, env: str | None = None, negative: str = "") -> Flag:
    return Flag(tuple(names.split()), apply, help_text, env, False, tuple(negative.split()))


FLAGS: tuple[Flag, ...] = (
    _flag("-m --model", text("model.path"), "model file (GGUF)", "LLAMA_ARG_MODEL"),
    _flag("-a --alias", words_of("model_alias", set), "names the API knows the model by", "LLAMA_ARG_ALIAS"),
    _flag("--host", words_of("hostnames", list), "address to listen on", "LLAMA_ARG_HOST"),
    _flag("--port", number("port"), "port to listen on", "LLAMA_ARG_PORT"),
    _flag("--api-prefix", text("api_prefix"), "prefix of every path", "LLAMA_ARG_API_PREFIX"),
    _flag("--api-key", words_of("api_keys", list), "keys, comma-separated", "LLAMA_API_KEY"),
    _flag("--api-key-file", api_key_file, "file with one key a line", "LLAMA_ARG_API_KEY_FILE"),
    _flag("--ssl-key-file", text("ssl_file_key"), "TLS private key", "LLAMA_ARG_SSL_KEY_FILE"),
    _flag("--ssl-cert-file", text("ssl_file_cert"), "TLS certificate", "LLAMA_ARG_SSL_CERT_FILE"),
    _flag("-to --timeout", read_timeouts, "read and write timeout, seconds", "LLAMA_ARG_TIMEOUT"),
    _flag("--threads-http", number("n_threads_http"), "HTTP threads", "LLAMA_ARG_THREADS_HTTP"),
    _flag("--sse-ping-interval", number("sse_ping_interval"), "seconds between stream pings, -1 is off"),
    _flag("-c --ctx-size", number("n_ctx"), "context, tokens; 0 is the model's own", "LLAMA_ARG_CTX_SIZE"),
    _flag("-n --predict --n-predict", number("n_predict"), "most tokens to make, -1 no end", "LLAMA_ARG_N_PREDICT"),
    _flag("-np --parallel", parallel, "slots; -1 is automatic", "LLAMA_ARG_N_PARALLEL"),
    _switch(
        "-kvu --kv-unified",
        switch("kv_unified"),
        "one cache for all slots",
        "LLAMA_ARG_KV_UNIFIED",
        "-no-kvu --no-kv-unified",
    ),
    _flag("-t --threads", number("cpuparams.n_threads"), "threads", "LLAMA_ARG_THREADS"),
    _flag("-tb --threads-batch", number("cpuparams_batch.n_threads"), "threads for prompts"),
    _flag("-b --batch-size", number("n_batch"), "logical batch, tokens", "LLAMA_ARG_BATCH"),
    _flag("-ub --ubatch-size", number("n_ubatch"), "physical batch, tokens", "LLAMA_ARG_UBATCH"),
    _flag(
        "-ctk --cache-type-k",
        choice("cache_type_k", "ggml_type", "GGML_TYPE_", CACHE_TYPES),
        "type of K cache",
        "LLAMA_ARG_CACHE_TYPE_K",
    ),
    _flag(
        "-ctv --cache-type-v",
        choice("cache_type_v", "ggml_type", "GGML_TYPE_", CACHE_TYPES),
        "type of V cache",
        "LLAMA_ARG_CACHE_TYPE_V",
    ),
    _flag(
        "-fa --flash-attn",
        choice("flash_attn_type", "llama_flash_attn_type", "LLAMA_FLASH_ATTN_TYPE_", FLASH),
        "on, off or auto",
        "LLAMA_ARG_FLASH_ATTN",
    ),
    _flag(
        "-ngl --gpu-layers --n-gpu-layers", gpu_layers, "layers on the GPU: number, auto, all", "LLAMA_ARG_N_GPU_LAYERS"
    ),
    _flag(
        "-sm --split-mode",
        choice("split_mode", "llama_split_mode", "LLAMA_SPLIT_MODE_", SPLIT),
        "split over GPUs",
        "LLAMA_ARG_SPLIT_MODE",
    ),
    _flag("-ts --tensor-split", tensor_split, "share of each GPU", "LLAMA_ARG_TENSOR_SPLIT"),
    _flag("-mg --main-gpu", number("main_gpu"), "first GPU", "LLAMA_ARG_MAIN_GPU"),
    _flag("-fit --fit", switch("fit_params"), "fit to free device memory: on or off", "LLAMA_ARG_FIT"),
    _flag("-fitc --fit-ctx", number("fit_params_min_ctx"), "least context fit may choose", "LLAMA_ARG_FIT_CTX"),
    _flag(
        "--numa", choice("numa", "ggml_numa_strategy", "GGML_NUMA_STRATEGY_", NUMA), "NUMA strategy", "LLAMA_ARG_NUMA"
    ),
    _flag(
        "-lm --load-mode",
        choice("load_mode", "llama_load_mode", "LLAMA_LOAD_MODE_", LOADING),
        "how weights load",
        "LLAMA_ARG_LOAD_MODE",
    ),
    _switch("--mlock", load_mode("MMAP_MLOCK"), "keep weights in memory", "LLAMA_ARG_MLOCK"),
    _switch("--mmap", load_mode("MMAP", "NONE"), "map weights", "LLAMA_ARG_MMAP", "--no-mmap"),
    _switch("--check-tensors", switch("check_tensors"), "check weights while loading"),
    _switch("--swa-full", switch("swa_full"), "full-size cache for sliding windows", "LLAMA_ARG_SWA_FULL"),
    _switch(
        "-cb --cont-batching",
        switch("cont_batching"),
        "continuous batching",
        "LLAMA_ARG_CONT_BATCHING",
        "-nocb --no-cont-batching",
    ),
    _switch(
        "--context-shift", switch("ctx_shift"), "shift a full context", "LLAMA_ARG_CONTEXT_SHIFT", "--no-context-shift"
    ),
    _switch("--cache-prompt", switch("cache_prompt"), "reuse prompts", "LLAMA_ARG_CACHE_PROMPT", "--no-cache-prompt"),
    _flag("--cache-reuse", number("n_cache_reuse"), "least chunk to reuse", "LLAMA_ARG_CACHE_REUSE"),
    _flag("-cram --cache-ram", number("cache_ram_mib"), "host prompt cache, MiB", "LLAMA_ARG_CACHE_RAM"),
    _flag(
        "-ctxcp --ctx-checkpoints --swa-checkpoints",
        number("n_ctx_checkpoints"),
        "saved states a slot",
        "LLAMA_ARG_CTX_CHECKPOINTS",
    ),
    _switch("--warmup", switch("warmup"), "one empty run after loading", "LLAMA_ARG_WARMUP", "--no-warmup"),
    _switch("--metrics", switch("endpoint_metrics"), "answer /metrics", "LLAMA_ARG_ENDPOINT_METRICS"),
    _switch("--props", switch("endpoint_props"), "accept POST /props", "LLAMA_ARG_ENDPOINT_PROPS"),
    _switch("--slots", switch("endpoint_slots"), "answer /slots", "LLAMA_ARG_ENDPOINT_SLOTS", "--no-slots"),
    _flag("--slot-save-path", text("slot_save_path"), "folder of saved slots"),
    _switch("--embedding --embeddings", switch("embedding"), "answer /v1/embeddings", "LLAMA_ARG_EMBEDDINGS"),
    _flag(
        "--pooling",
        choice("pooling_type", "llama_pooling_type", "LLAMA_POOLING_TYPE_", POOLING),
        "pooling of embeddings",
        "LLAMA_ARG_POOLING",
    ),
    _switch("--ui --webui", switch("ui"), "llama.cpp's own page", "LLAMA_ARG_UI", "--no-ui --no-webui"),
    _switch("--jinja", switch("use_jinja"), "chat templates by Jinja", "LLAMA_ARG_JINJA", "--no-jinja"),
    _flag("--chat-template", text("chat_template"), "template instead of the model's", "LLAMA_ARG_CHAT_TEMPLATE"),
    _flag(
        "--reasoning-format",
        choice("reasoning_format", "common_reasoning_format", "COMMON_REASONING_FORMAT_", REASONING),
        "where thoughts go",
        "LLAMA_ARG_THINK",
    ),
    _flag("-s --seed", seed, "seed, -1 is random", "LLAMA_ARG_SEED"),
    _flag("--temp --temperature", real("sampling.temp"), "default temperature", "LLAMA_ARG_TEMP"),
    _flag("--top-k", number("sampling.top_k"), "default top-k", "LLAMA_ARG_TOP_K"),
    _flag("--top-p", real("sampling.top_p"), "default top-p", "LLAMA_ARG_TOP_P"),
    _flag("--min-p", real("sampling.min_p"), "default min-p", "LLAMA_ARG_MIN_P"),
    _flag(
        "--rope-scaling",
        choice("rope_scaling_type", "llama_rope_scaling_type", "LLAMA_ROPE_SCALING_TYPE_", ROPE),
        "scaling of positions",
        "LLAMA_ARG_ROPE_SCALING_TYPE",
    ),
    _flag("--rope-freq-base", real("rope_freq_base"), "base frequency", "LLAMA_ARG_ROPE_FREQ_BASE"),
    _flag("--rope-freq-scale", real("rope_freq_scale"), "frequency scale", "LLAMA_ARG_ROPE_FREQ_SCALE"),
    _flag("--yarn-orig-ctx", number("yarn_orig_ctx"), "context the model was trained for", "LLAMA_ARG_YARN_ORIG_CTX"),
    _switch("--offline", switch("offline"), "never use the network", "LLAMA_ARG_OFFLINE"),
    _switch("--perf", switch("no_perf", inverted=True), "internal timings", "LLAMA_ARG_PERF", "--no-perf"),
    _switch("--log-jsonl", switch("log_json"), "log as JSON lines", "LLAMA_ARG_LOG_JSONL"),
    _flag(
        "--sleep-idle-seconds",
        number("sleep_idle_seconds"),
        "unload after so long idle",
        "LLAMA_ARG_SLEEP_IDLE_SECONDS",
    ),
    _flag(
        "-lv --verbosity --log-verbosity", number("verbosity"), "0 nothing ... 5 everything", "LLAMA_ARG_LOG_VERBOSITY"
    ),
)
