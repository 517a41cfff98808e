"""What a server takes, against lines that llama.cpp printed (captures/buffers.txt) and by hand."""

import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.engines.llamacpp.test_memory_real import CASES
from tests.planner.shapes import SHAPES
from webapp.catalog import gguf
from webapp.engines.llamacpp import memory
from webapp.engines.llamacpp.log import reported
from webapp.engines.llamacpp.memory import Settings, kv_bytes, suggest
from webapp.planner import ggml
from webapp.planner.comparison import compare
from webapp.planner.facts import KvGroup, ModelFacts
from webapp.planner.memory import MIB, Capacity, Estimate

GIB = 2**30
CAPTURES = Path(__file__).parent / "captures" / "buffers.txt"

# Llama 3.1 8B as its GGUF header describes it
LLAMA_8B = ModelFacts(
    architecture="llama",
    quantisation="F16",
    parameters=8_030_261_248,
    layers=32,
    heads=32,
    kv_heads=8,
    key_length=128,
    value_length=128,
    embedding_length=4096,
    feed_forward_length=14336,
    vocabulary=128256,
    context_length=131072,
    kv_groups=(KvGroup(32, 1024, 1024),),
    weights_bytes=16_060_522_496,
    mapped_bytes=16_060_522_496,
    kept_bytes=16_060_522_496,
    layer_bytes=(436_224_000,) * 32,
    embedding_bytes=1_050_673_152,
    output_bytes=1_050_673_152,
)


def facts_of(name: str) -> ModelFacts:
    return gguf.facts(gguf.read_header(BytesIO(SHAPES[name]().header())))


def estimate(facts: ModelFacts, **chosen: Any) -> Estimate:
    return memory.estimate(facts, Settings(**chosen))


def recorded() -> list[tuple[int, list[str]]]:
    blocks = re.split(r"^# case (\d+): .*\n", CAPTURES.read_text(), flags=re.MULTILINE)[1:]
    return [(int(number), lines.splitlines()) for number, lines in zip(blocks[::2], blocks[1::2], strict=True)]


@pytest.mark.parametrize(("number", "lines"), recorded())
def test_recorded_buffers_were_predicted_to_a_mebibyte(number: int, lines: list[str]) -> None:
    name, settings = CASES[number]
    facts = facts_of(name)
    rows = {row.name: row for row in compare(memory.estimate(facts, settings), reported(lines))}
    assert {"weights", "output_buffer"} <= rows.keys()
    assert "kv_cache" in rows or name == "mamba"
    for row in rows.values():
        if row.name != "compute_buffer" or not facts.recurrent_bytes:
            assert abs(row.difference_bytes) < MIB, row


def test_every_case_is_recorded() -> None:
    assert [number for number, _lines in recorded()] == list(range(len(CASES)))


@pytest.mark.parametrize(
    ("cache", "per_token"), [("f16", 131072), ("q8_0", 131072 * 34 // 64), ("q4_0", 131072 * 18 // 64)]
)
def test_cache_of_llama_8b_is_what_the_textbook_says(cache: str, per_token: int) -> None:
    settings = Settings(8192, cache_type_k=cache, cache_type_v=cache)
    assert kv_bytes(LLAMA_8B, settings) == 8192 * per_token


@pytest.mark.parametrize(
    ("context", "parallel", "cells"), [(1, 1, 256), (256, 1, 256), (257, 1, 512), (700, 3, 768), (128, 4, 256)]
)
def test_context_of_a_slot_is_rounded_up_to_256(context: int, parallel: int, cells: int) -> None:
    settings = Settings(context, parallel)
    assert (settings.cells_per_slot, settings.total_context) == (cells, cells * parallel)
    assert kv_bytes(LLAMA_8B, settings) == 131072 * cells * parallel


def test_windows_stop_growing_with_the_context() -> None:
    gemma = facts_of("gemma3")
    assert [(group.layers, group.window) for group in gemma.kv_groups] == [(10, 512), (2, 0)]
    grown = kv_bytes(gemma, Settings(16384)) - kv_bytes(gemma, Settings(8192))
    assert grown == 2 * 8192 * (128 + 128) * 2  # only the two layers that see everything


def test_latent_attention_stores_one_vector() -> None:
    deepseek = facts_of("deepseek2")
    assert deepseek.kv_groups == (KvGroup(4, 160, 0),)
    assert kv_bytes(deepseek, Settings(1024)) == 4 * 1024 * 160 * 2


def test_terms_add_up_and_have_labels() -> None:
    found = estimate(LLAMA_8B, context=8192, parallel=2, gpu_layers=16)
    assert found.total_bytes == sum(term.bytes for term in found.terms) == found.host_bytes + found.gpu_bytes
    assert all(term.label and term.bytes > 0 for term in found.terms)
    assert {"weights", "kv_cache", "compute_buffer", "output_buffer", "process_overhead"} <= {
        term.name for term in found.terms
    }


def test_all_layers_on_the_gpu_leave_only_the_embedding_on_the_host() -> None:
    found = estimate(LLAMA_8B, gpu_layers=-1)
    assert found.bytes_of("weights", "host") == LLAMA_8B.embedding_bytes
    assert found.bytes_of("weights", "gpu") == LLAMA_8B.weights_bytes - LLAMA_8B.embedding_bytes
    assert found.bytes_of("kv_cache", "host") == 0


def test_tied_embedding_is_on_both_sides() -> None:
    tied = facts_of("smollm2")
    found = estimate(tied, gpu_layers=-1)
    assert found.bytes_of("weights") == tied.weights_bytes + tied.embedding_bytes


@pytest.mark.parametrize("layers", [0, 1, 16, 31, 32, -1])
def test_layers_are_neither_lost_nor_counted_twice(layers: int) -> None:
    assert estimate(LLAMA_8B, gpu_layers=layers).bytes_of("weights") == LLAMA_8B.weights_bytes


def test_more_layers_on_the_gpu_never_take_less_of_it() -> None:
    sizes = [estimate(LLAMA_8B, gpu_layers=layers).gpu_bytes for layers in range(33)]
    assert sizes == sorted(sizes)


def test_prompt_cache_and_checkpoints_count_in_full() -> None:
    gemma = facts_of("gemma3")
    settings = Settings(2048, parallel=2, prompt_cache_bytes=100 * MIB, checkpoints=4)
    found = memory.estimate(gemma, settings)
    windowed = 10 * 1024 * 256 * 2 * 2
    assert found.bytes_of("prompt_cache") == 100 * MIB
    assert found.bytes_of("checkpoints") == 4 * windowed
    plain = memory.estimate(facts_of("llama"), replace(settings, checkpoints=32))
    assert plain.bytes_of("checkpoints") == 0  # nothing there needs one


def test_what_fits_fits() -> None:
    found = estimate(LLAMA_8B, context=4096)
    assert Capacity(found.host_bytes).holds(found)
    assert not Capacity(found.host_bytes - 1).holds(found)
    assert suggest(LLAMA_8B, Settings(4096), Capacity(found.host_bytes)).text == ""


def test_refusal_names_the_longest_context_that_fits() -> None:
    headroom = Capacity(estimate(LLAMA_8B, context=16384).host_bytes)
    found = suggest(LLAMA_8B, Settings(131072), headroom)
    assert found.text == "fits with context 16384"
    assert found.settings is not None
    assert headroom.holds(memory.estimate(LLAMA_8B, found.settings))


def test_refusal_offers_a_smaller_cache_before_a_tiny_context() -> None:
    headroom = Capacity(LLAMA_8B.weights_bytes + GIB + 100 * MIB)
    found = suggest(LLAMA_8B, Settings(32768, parallel=4), headroom)
    assert found.text == "fits with a q8_0 cache and context 3584"
    assert found.settings is not None
    assert headroom.holds(memory.estimate(LLAMA_8B, found.settings))


def test_refusal_offers_fewer_layers_on_the_gpu() -> None:
    headroom = Capacity(64 * GIB, 10 * GIB)
    found = suggest(LLAMA_8B, Settings(gpu_layers=-1), headroom)
    assert re.fullmatch(r"fits with (\d+) layers on the GPU", found.text)
    assert found.settings is not None
    assert headroom.holds(memory.estimate(LLAMA_8B, found.settings))
    more = replace(found.settings, gpu_layers=found.settings.gpu_layers + 1)
    assert not headroom.holds(memory.estimate(LLAMA_8B, more))


def test_refusal_offers_a_smaller_quantisation_last() -> None:
    found = suggest(LLAMA_8B, Settings(4096), Capacity(8 * GIB))
    assert (found.text, found.settings) == ("fits as Q6_K", None)
    assert suggest(LLAMA_8B, Settings(), Capacity(GIB)).text == ""


def test_unknown_cache_types_are_errors() -> None:
    with pytest.raises(KeyError, match="q8_0"):
        estimate(LLAMA_8B, cache_type_k="q3_0")
    assert ggml.cache_type("q4_0").bits == 4.5


@pytest.mark.parametrize("name", ["llama", "gemma3", "mixture"])
def test_known_shapes_claim_exactness_where_it_counts(name: str) -> None:
    terms = {term.name: term.basis for term in estimate(facts_of(name)).terms}
    assert (terms["weights"], terms["kv_cache"], terms["output_buffer"]) == ("exact", "exact", "exact")


def test_unknown_caches_are_called_an_estimate() -> None:
    strange = replace(facts_of("llama"), kv_basis="estimate")
    assert estimate(strange, context=65536).basis == "estimate"
