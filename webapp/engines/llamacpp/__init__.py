"""llama.cpp's server: GGUF models on CPUs and GPUs."""
