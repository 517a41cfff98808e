"""What runs on which processors: a table for each engine and for the quantisers, by the flags of /proc/cpuinfo."""

import pytest

from webapp import engines
from webapp.planner.facts import ModelFacts
from webapp.quantisation import plan, refusing
from webapp.quantisation.recipes import METHODS, Recipe

from .processors import AMX, ARM, AVX2, AVX512, OLD_X86, UNKNOWN

NO_KERNEL = "no kernel for {} with 4 bits on processors without AVX-512"
OTHER_BITS = "no kernel for {} with 8 bits on processors. Use INT8, FP8"


def why(quantisation: str, flags: frozenset[str], vendor: str = "cpu", engine: str = "vllm") -> str:
    return engines.get(engine).why_not_on(vendor, ModelFacts("llama", quantisation=quantisation), flags)


@pytest.mark.parametrize(
    "flags", [AVX512, AMX, UNKNOWN, frozenset({"zarch", "vx"})], ids=["avx512", "amx", "nobody has looked", "others"]
)
@pytest.mark.parametrize("quantisation", ["AWQ 4-bit", "GPTQ 4-bit", "packed 4-bit", "INT8 W8A8", "FP8", "BF16", ""])
def test_vllm_runs_four_bits_where_it_has_the_kernel(quantisation: str, flags: frozenset[str]) -> None:
    assert why(quantisation, flags) == ""


@pytest.mark.parametrize("flags", [AVX2, ARM, AMX - {"avx512f"}], ids=["avx2", "arm", "masked"])
@pytest.mark.parametrize(
    ("quantisation", "words"),
    [
        ("AWQ 4-bit", NO_KERNEL.format("AWQ")),
        ("AWQ", NO_KERNEL.format("AWQ")),  # a config that does not say how many bits: there are hardly others
        ("GPTQ 4-bit", NO_KERNEL.format("GPTQ")),
        ("packed 4-bit", NO_KERNEL.format("packed integers")),
        ("GPTQ 8-bit", OTHER_BITS.format("GPTQ") + " or a GPU"),
        ("INT8 W8A8", ""),
        ("W8A8 INT8", ""),
        ("FP8", ""),
        ("BF16", ""),
        ("Q4_K_M", ""),
        ("", ""),
    ],
)
def test_vllm_without_the_kernel_says_so_and_names_the_ways_out(
    quantisation: str, words: str, flags: frozenset[str]
) -> None:
    said = why(quantisation, flags)
    assert words in said and bool(said) == bool(words)
    if "4 bits on" in words:
        assert all(way in said for way in ("GGUF with llama.cpp", "INT8", "a host with AVX-512", "GPU"))
    assert why(quantisation, flags, "nvidia") == "", "cards have kernels of their own"


@pytest.mark.parametrize("flags", [AVX512, UNKNOWN], ids=["avx512", "nobody has looked"])
@pytest.mark.parametrize("quantisation", ["GPTQ 8-bit", "packed 8-bit"])
def test_eight_bits_are_refused_on_every_processor_and_four_offered_where_they_run(
    quantisation: str, flags: frozenset[str]
) -> None:
    assert "with 8 bits on processors. Use INT8, FP8, 4 bits or a GPU." in why(quantisation, flags)


def test_vllm_needs_what_its_libraries_were_compiled_for() -> None:
    assert why("BF16", OLD_X86).startswith("vLLM needs AVX2 and F16C, which the processors lack.")
    assert "AVX2" not in why("BF16", AVX2 - {"f16c"}) and "F16C" in why("BF16", AVX2 - {"f16c"})


@pytest.mark.parametrize("flags", [OLD_X86, AVX2, AVX512, ARM, UNKNOWN])
def test_llama_cpp_runs_everything_everywhere(flags: frozenset[str]) -> None:
    assert why("Q4_K_M", flags, engine="llamacpp") == ""


@pytest.mark.parametrize(
    ("recipe", "flags", "is_timed"),
    [
        (Recipe(method="awq"), AVX2, False),
        (Recipe(method="awq"), AVX512, True),
        (Recipe(method="awq"), UNKNOWN, True),
        (Recipe(method="gptq"), AVX2, False),
        (Recipe(method="gptq"), AVX512, True),
        (Recipe(method="gptq", options={"bits": 8}), AVX512, False),
        (Recipe(method="int8"), AVX2, True),
        (Recipe(method="fp8"), AVX2, True),
        (Recipe(method="gguf"), AVX2, True),
        (Recipe(method="int8"), OLD_X86, False),
    ],
)
def test_a_result_is_timed_where_vllm_runs_it(recipe: Recipe, flags: frozenset[str], is_timed: bool) -> None:
    assert bool(plan.why_untimed(recipe, flags)) is not is_timed


def test_llama_cpps_tools_need_what_they_were_compiled_for_and_the_others_look_for_themselves() -> None:
    [refusal] = refusing.lack_of_instructions(Recipe(method="gguf"), "attic", OLD_X86)
    assert "need AVX2, BMI2, F16C, FMA, which the processors of attic lack" in refusal.what
    for flags in (AVX2, ARM, UNKNOWN):
        assert refusing.lack_of_instructions(Recipe(method="gguf"), "attic", flags) == []
    for method in set(METHODS) - {"gguf"}:
        assert refusing.lack_of_instructions(Recipe(method=method), "attic", OLD_X86) == []
