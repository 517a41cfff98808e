"""How vLLM complains when it does not start or dies. Texts of vLLM 0.32 and 0.33."""

import re

from webapp.engines import exits
from webapp.engines.base import ExitFacts, ExitReason

# PyTorch's words for an operator that is not in the library that was loaded, which vLLM chooses by the processor.
_MISSING_KERNEL = re.compile(r"'_OpNamespace' '_\w+' object has no attribute '(\w+)'")
_KERNEL_ADVICE = "Use GGUF with llama.cpp, INT8 or FP8, a host with AVX-512, or another GPU."
_WORDS = exits.Words(
    program="vLLM",
    kernel=_MISSING_KERNEL,
    kernel_advice=_KERNEL_ADVICE,
    gpu_memory=re.compile(
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory|HIP out of memory"
        r"|Free memory on device .* is less than desired|No available memory for the cache blocks"
    ),
    host_memory=re.compile(r"DefaultCPUAllocator: can't allocate memory|Cannot allocate memory|MemoryError"),
    option=re.compile(
        r"error: unrecognized arguments|error: argument |KV cache is needed, which is larger than"
        r"|greater than the derived max_model_len|is not supported in|must be divisible by tensor parallel size"
    ),
    model_errors=(
        (
            r"Invalid quantization method|Unknown quantization method|quantization is currently not supported"
            r"|Failed to find a kernel that can implement",
            "This vLLM does not serve the file's quantisation on this hardware",
            "Use another quantisation of the model, or a newer image.",
        ),
        (
            r"Model architectures .* (?:are not supported|failed to be inspected)|does not recognize this architecture",
            "This vLLM does not know the model's architecture",
            "Use a newer image, or another engine.",
        ),
        (
            r"HeaderTooLarge|InvalidHeader|MetadataIncompleteBuffer|SafetensorError",
            "A weight file is truncated or not a safetensors file",
            exits.FETCH_AGAIN,
        ),
        (
            r"trust_remote_code=True|requires you to execute the configuration file",
            "The model requires trust_remote_code, which is not allowed",
            "Use a model whose architecture vLLM knows.",
        ),
        (
            r"Can't load the configuration|Invalid repository ID|no file named|Can't load tokenizer"
            r"|Couldn't instantiate",
            "The model's folder lacks a file",
            "Download the whole repository from its hub, or import a folder with weights, config.json and tokenizer.",
        ),
    ),
    # The process that serves waits for the one that computes, and prints a traceback of its own after the other's.
    consequence=re.compile(
        r"Engine core initialization failed|See root cause above|EngineCore failed to start|Engine process failed"
        r"|Traceback \(most recent call last\)|During handling of the above exception|Process EngineCore|raise "
        r"|resource_tracker|Failed core proc"
    ),
    stopped=re.compile(r"Application shutdown complete|Shutting down|Finished server process"),
    memory_advice="Edit the deployment: a smaller cache, or a smaller quantisation.",
    gpu_advice="Edit the deployment: a smaller cache, a smaller quantisation, or another GPU; "
    "see whether another program took memory on it.",
)


def explain(facts: ExitFacts) -> ExitReason:
    """Why it is not running; never None."""
    return exits.explain(facts, _WORDS)


def in_words(complaint: str) -> str:
    """A complaint of its program as people read it; as it is where we know no better words."""
    reason = exits.missing_kernel(complaint, _WORDS)
    return complaint if reason is None else f"{reason.message} {reason.advice}"
