"""vLLM: safetensors models, many requests at once."""
