"""Images of vLLM by the hardware they run on, best first."""

LOCAL = "modelyard/vllm:cpu"  # built here
IMAGES: dict[str, tuple[str, ...]] = {
    "cpu": (LOCAL, "vllm/vllm-openai-cpu:latest-x86_64"),
    "nvidia": ("vllm/vllm-openai:latest",),
    "amd": ("vllm/vllm-openai-rocm:latest",),
    "intel": ("vllm/vllm-openai-xpu:latest",),
}
