"""How vLLM names its numbers."""

from webapp.engines.metrics import CACHE, COMPLETION_TOKENS, PROMPT_TOKENS, RUNNING, WAITING, Metrics

METRICS = Metrics(
    gauges={
        "vllm:num_requests_running": (RUNNING, 1.0),
        "vllm:num_requests_waiting": (WAITING, 1.0),
        "vllm:kv_cache_usage_perc": (CACHE, 100.0),
    },
    counters={
        "vllm:prompt_tokens_total": PROMPT_TOKENS,
        "vllm:generation_tokens_total": COMPLETION_TOKENS,
    },
)
