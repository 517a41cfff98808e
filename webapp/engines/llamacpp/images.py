"""Images of llama.cpp's server by the hardware they run on, best first."""

LOCAL = "modelyard/llamacpp:cpu"  # built here
OFFICIAL = {
    "cpu": "ghcr.io/ggml-org/llama.cpp:server",
    "nvidia": "ghcr.io/ggml-org/llama.cpp:server-cuda",
    "amd": "ghcr.io/ggml-org/llama.cpp:server-rocm",
    "intel": "ghcr.io/ggml-org/llama.cpp:server-intel",
}
_VULKAN = "ghcr.io/ggml-org/llama.cpp:server-vulkan"
IMAGES: dict[str, tuple[str, ...]] = {
    "cpu": (LOCAL, OFFICIAL["cpu"]),
    "nvidia": (OFFICIAL["nvidia"],),
    "amd": (OFFICIAL["amd"], _VULKAN),
    "intel": (OFFICIAL["intel"], _VULKAN),
}
