"""Recipes: which methods there are, their typed options, what they take and what they make. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from webapp import engines
from webapp.engines.processors import GGML
from webapp.engines.vllm import images as vllm

GGUF_IMAGE = "modelyard/quantizer-gguf:1"
LLMCOMPRESSOR_IMAGE = "modelyard/quantizer-llmcompressor:1"
# vLLM as it serves on processors, with a program beside it that measures.
VLLM_IMAGE = vllm.LOCAL

GgufType = Literal[
    "Q4_K_M", "Q2_K", "Q2_K_S", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_0", "Q4_1", "Q4_K_S", "Q5_0", "Q5_1", "Q5_K_S",
    "Q5_K_M", "Q6_K", "Q8_0", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "IQ3_S",
    "IQ3_M", "IQ4_XS", "IQ4_NL", "TQ1_0", "TQ2_0", "MXFP4_MOE", "F16", "BF16", "F32",
]  # fmt: skip
GroupSize = Literal[32, 64, 128]
# Bits per weight on a Llama of 8 billion parameters, embeddings included (llama-quantize --help, sizes x 8 / 8.03e9).
GGUF_BITS: dict[str, float] = {
    "Q2_K": 3.17, "Q2_K_S": 3.0, "Q3_K_S": 3.65, "Q3_K_M": 4.0, "Q3_K_L": 4.31, "Q4_0": 4.65, "Q4_1": 5.12,
    "Q4_K_S": 4.68, "Q4_K_M": 4.9, "Q5_0": 5.58, "Q5_1": 6.05, "Q5_K_S": 5.58, "Q5_K_M": 5.7, "Q6_K": 6.57,
    "Q8_0": 8.51, "IQ1_S": 1.9, "IQ1_M": 2.05, "IQ2_XXS": 2.38, "IQ2_XS": 2.6, "IQ2_S": 2.75, "IQ2_M": 2.95,
    "IQ3_XXS": 3.25, "IQ3_XS": 3.5, "IQ3_S": 3.66, "IQ3_M": 3.78, "IQ4_XS": 4.43, "IQ4_NL": 4.68, "TQ1_0": 1.9,
    "TQ2_0": 2.3, "MXFP4_MOE": 4.6, "F16": 16.0, "BF16": 16.0, "F32": 32.0,
}  # fmt: skip
PLAIN_TYPES = frozenset({"F16", "BF16", "F32"})
# llama-quantize refuses these without an importance matrix.
WANTS_IMATRIX = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "Q2_K_S"})


class Options(BaseModel):
    """What every method's options share."""

    model_config = ConfigDict(extra="forbid")


class GgufOptions(Options):
    type: GgufType = Field(
        "Q4_K_M",
        description="GGUF quantisation type; the number is about the bits per weight. Q4_K_M suits most uses.",
    )
    imatrix: bool = Field(True, description="Use an importance matrix; recommended below 6 bits.")
    calibration_chunks: int = Field(0, ge=0, le=10_000, description="512-token chunks to calibrate on; 0 uses all.")
    requantise: bool = Field(False, description="Allow re-quantising an already quantised model: errors add up.")


class AwqOptions(Options):
    group_size: GroupSize = Field(128, description="Weights that share a scale; smaller is more accurate and larger.")
    symmetric: bool = Field(False, description="No zero points: slightly smaller, slightly less accurate.")
    samples: int = Field(128, ge=4, le=4096, description="Number of calibration samples.")
    length: int = Field(512, ge=16, le=8192, description="Tokens per calibration sample.")
    grid: int = Field(20, ge=2, le=100, description="Scales tried per layer; more takes longer.")


class GptqOptions(Options):
    bits: Literal[4, 8] = Field(4, description="Bits per weight.")
    group_size: GroupSize = Field(128, description="Weights that share a scale; smaller is more accurate and larger.")
    symmetric: bool = Field(True, description="No zero points; every engine can load it.")
    samples: int = Field(128, ge=4, le=4096, description="Number of calibration samples.")
    length: int = Field(512, ge=16, le=8192, description="Tokens per calibration sample.")


class Int8Options(Options):
    samples: int = Field(128, ge=4, le=4096, description="Number of calibration samples.")
    length: int = Field(512, ge=16, le=8192, description="Tokens per calibration sample.")


class Fp8Options(Options):
    pass


@dataclass(frozen=True, slots=True)
class Method:
    """One way to make files smaller. `expected_loss`: the survey's, in percent of perplexity."""

    name: str
    title: str
    summary: str
    options: type[Options]
    takes: frozenset[str]
    makes: str
    image: str
    expected_loss: str
    # What its programs were compiled for, as webapp.engines.processors names it; nothing: they look for themselves.
    needs_flags: tuple[str, ...] = ()


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "gguf", "GGUF", "For llama.cpp, Ollama and LM Studio, on processors and GPUs alike.", GgufOptions,
            frozenset({"safetensors", "gguf"}), "gguf", GGUF_IMAGE, "2–5 % at 4 bits", GGML,
        ),
        Method(
            "awq", "AWQ 4-bit", "For vLLM and SGLang: weights in 4 bits, the important ones protected.", AwqOptions,
            frozenset({"safetensors"}), "safetensors", LLMCOMPRESSOR_IMAGE, "under 2 %",
        ),
        Method(
            "gptq", "GPTQ", "For vLLM and SGLang: weights in 4 or 8 bits, errors balanced layer by layer.", GptqOptions,
            frozenset({"safetensors"}), "safetensors", LLMCOMPRESSOR_IMAGE, "1–3 %",
        ),
        Method(
            "int8", "INT8 W8A8", "For vLLM: weights and activations in 8 bits, fast on older GPUs and processors.",
            Int8Options, frozenset({"safetensors"}), "safetensors", LLMCOMPRESSOR_IMAGE, "under 1 %",
        ),
        Method(
            "fp8", "FP8", "For vLLM on recent GPUs: 8-bit floats, made without a calibration text.", Fp8Options,
            frozenset({"safetensors"}), "safetensors", LLMCOMPRESSOR_IMAGE, "",
        ),
    )
}  # fmt: skip


def served_by() -> str:
    """Which engine the results of which methods are for, in words."""
    made = {e.title: [m.title for m in METHODS.values() if m.makes in e.formats] for e in engines.all()}
    return "; ".join(f"{', '.join(titles)} for {engine}" for engine, titles in made.items() if titles)


# What a host keeps in its facts: which of the images it has. Hosts that nobody has looked at say nothing.
IMAGES = tuple(dict.fromkeys(method.image for method in METHODS.values()))
IMAGES_FACT = "quantiser_images"


def lacks_image(host_facts: Mapping[str, Any], *images: str) -> bool:
    """Whether a host, by its facts, is known to have none of these images."""
    there = host_facts.get(IMAGES_FACT)
    return there is not None and not set(images) & set(there)


class Recipe(BaseModel):
    """A method with its options, as it is stored and asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: Literal["gguf", "awq", "gptq", "int8", "fp8"] = Field("gguf", description="what is made")
    options: dict[str, Any] = Field(default_factory=dict, description="the method's options; absent ones default")

    @property
    def what(self) -> Method:
        return METHODS[self.method]

    @property
    def chosen(self) -> Options:
        """The options with their defaults. Raises pydantic.ValidationError."""
        return self.what.options.model_validate(self.options)

    @property
    def label(self) -> str:
        """The quantisation's name as people and the catalogue use it."""
        chosen = self.chosen
        if isinstance(chosen, GgufOptions):
            return chosen.type
        if isinstance(chosen, GptqOptions):
            return f"GPTQ {chosen.bits}-bit"
        return {"awq": "AWQ 4-bit", "int8": "INT8 W8A8", "fp8": "FP8"}[self.method]

    @property
    def wants_text(self) -> bool:
        """Whether it looks at a calibration text."""
        chosen = self.chosen
        if isinstance(chosen, GgufOptions):
            return chosen.imatrix and chosen.type not in PLAIN_TYPES
        return self.method != "fp8"

    def full(self) -> dict[str, Any]:
        """The recipe with every option written out: what its provenance keeps."""
        return {"method": self.method, "options": self.chosen.model_dump()}


class Measure(BaseModel):
    """How the result is compared with its parent."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    context: int = Field(512, ge=64, le=8192, description="tokens per chunk of the evaluation dataset")
    chunks: int = Field(16, ge=1, le=2000, description="chunks to evaluate, at most")
    speed: bool = Field(
        True, description="measure tokens/s at concurrency 1 and 8, load time and memory; once for the source too"
    )


def group_size_of(recipe: Recipe) -> int | None:
    """The group size, for methods that have one."""
    return cast("int | None", getattr(recipe.chosen, "group_size", None))


def of_json(stored: Mapping[str, Any]) -> Recipe:
    return Recipe.model_validate(dict(stored))
