"""Images of llama.cpp's server by the hardware they run on, best first."""

IMAGES: dict[str, tuple[str, ...]] = {
    "cpu": ("modelyard/llamacpp:cpu", "ghcr.io/ggml-org/llama.cpp:server"),
    "nvidia": ("ghcr.io/ggml-org/llama.cpp:server-cuda",),
    "amd": ("ghcr.io/ggml-org/llama.cpp:server-rocm", "ghcr.io/ggml-org/llama.cpp:server-vulkan"),
    "intel": ("ghcr.io/ggml-org/llama.cpp:server-intel", "ghcr.io/ggml-org/llama.cpp:server-vulkan"),
}
