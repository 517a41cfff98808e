"""How llama-server complains when it does not start or dies."""

import re

from webapp.engines import exits
from webapp.engines.base import ExitFacts, ExitReason

_HOST_ALLOCATION = re.compile(
    r"std::bad_alloc|unable to allocate (?:CPU|Host)\w* buffer|failed to allocate (?:CPU|Host)\w* buffer"
    r"|ggml_aligned_malloc: insufficient memory|cannot allocate memory",
    re.IGNORECASE,
)
_GPU_MEMORY = re.compile(
    r"CUDA(?: error)?:? out of memory|cudaMalloc failed: out of memory|hipMalloc failed: out of memory"
    r"|CUDA error: out of memory|ROCm error: out of memory|ErrorOutOfDeviceMemory|OUT_OF_DEVICE_MEMORY"
    r"|allocating [\d.]+ MiB on device \d+: \w+ failed"
    r"|unable to allocate (?:CUDA|ROCm|Vulkan|SYCL)\w* buffer|failed to allocate (?:CUDA|ROCm|Vulkan|SYCL)\w* buffer"
)
_OPTION = re.compile(
    r"error: invalid argument|error while handling (?:argument|environment variable)|error: unknown value for"
    r"|error: invalid value for|Unsupported cache type|quantized V cache was requested|requires flash_attn"
    r"|error: [Ii]nvalid \w"
)
_AGAIN = exits.FETCH_AGAIN
_MODEL_ERRORS: tuple[tuple[str, str, str], ...] = (
    (
        r"invalid magic characters",
        "The file is not a GGUF model",
        "Download or import the .gguf file itself, and deploy that.",
    ),
    (
        r"this GGUF file is version|GGUFv1 is no longer supported",
        "The image does not support the file's GGUF version",
        "Use a newer image, or convert the model again.",
    ),
    (
        r"is not within the file bounds|corrupted or incomplete|failed to read (?:magic|header|key-value|tensor info)",
        "The model file is truncated",
        _AGAIN,
    ),
    (
        r"unknown (?:model|pre-tokenizer|tokenizer)",
        "This llama.cpp does not know the model's architecture or tokenizer",
        "Use a newer image, or another conversion of the model.",
    ),
    (
        r"missing tensor|tensor '[^']*' not found|wrong number of tensors|wrong shape|key not found in model"
        r"|missing key .* in GGUF split",
        "The model file lacks something that its architecture needs",
        "Use another conversion of the model, or a newer image.",
    ),
    (
        r"failed to open GGUF file '[^'\n]*' \(Permission denied\)",
        "The engine has no permission to read the model file",
        "Make it world-readable on the host: chmod a+r.",
    ),
    (
        r"failed to open GGUF file|failed to open .*: No such file",
        "The model file could not be opened",
        exits.FETCH_AGAIN,
    ),
    (
        # It tells of the template's own mistake either at once or, after a look inside, some lines further down.
        r"chat template parsing error(?:[^\n]*\n(?![\d.]+ [A-Z] )){1,12}(?P<line>Error: [^\n]+)"
        r"|common_chat_templates_init: error|chat template parsing error",
        "llama.cpp cannot use the model's chat template",
        "The file is whole, so another download of it does not help. Use another conversion of the model, whose "
        "template is right, or a newer image.",
    ),
)
_LOAD_FAILED = (
    r"error loading model|failed to load model|exiting due to model loading error",
    "llama.cpp could not load the model",
    "Look at the replica's log. Another quantisation of the model or a newer image are worth a try.",
)
_CONSEQUENCE = re.compile(
    r"failed to load model|exiting due to|please consider|: for example:|cleaning up before exit|std::exception"
)
# Of the official program and of the one that is built here.
_STOPPED = re.compile(r"^server: stopping on SIG|cleaning up before exit", re.MULTILINE)
_WORDS = exits.Words(
    program="llama-server",
    gpu_memory=_GPU_MEMORY,
    host_memory=_HOST_ALLOCATION,
    option=_OPTION,
    model_errors=_MODEL_ERRORS,
    load_failed=_LOAD_FAILED,
    consequence=_CONSEQUENCE,
    stopped=_STOPPED,
    memory_advice="Edit the deployment: a shorter context, fewer slots, a q8_0 cache, or a smaller quantisation.",
    gpu_advice="Edit the deployment: a shorter context, fewer slots, fewer layers on the GPU, a smaller "
    "quantisation, or another GPU; see whether another program took memory on it.",
)


def explain(facts: ExitFacts) -> ExitReason:
    """Why it is not running; never None."""
    return exits.explain(facts, _WORDS)
