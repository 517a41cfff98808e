"""Recipes, sizes, refusals, plans and picks: all from their arguments."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from webapp.planner.facts import KvGroup, ModelFacts
from webapp.quantisation import picking, plan, refusing, sizing
from webapp.quantisation.recipes import GGUF_BITS, METHODS, WANTS_IMATRIX, GgufOptions, Measure, Recipe

GIB = 1024**3
# SmolLM2-135M as its published files say.
SMOL = ModelFacts(
    architecture="llama", quantisation="BF16", parameters=134_515_008, layers=30, heads=9, kv_heads=3, key_length=64,
    value_length=64, embedding_length=576, feed_forward_length=1536, vocabulary=49_152, context_length=8192,
    weights_bytes=269_030_016, kv_groups=(KvGroup(30, 192, 192),),
)  # fmt: skip
BIG = replace(SMOL, embedding_length=4096, feed_forward_length=14_336, heads=32, key_length=128, parameters=8 * 10**9)


def recipe(method="gguf", **options):
    return Recipe(method=method, options=options)


@pytest.mark.parametrize("name", METHODS)
def test_every_option_has_a_default_and_a_sentence_of_help(name):
    for field in METHODS[name].options.model_fields.values():
        assert not field.is_required() and (field.description or "").endswith(".")


def test_every_gguf_type_has_a_size():
    kinds = GgufOptions.model_fields["type"].annotation.__args__
    assert set(kinds) == set(GGUF_BITS) and set(kinds) >= WANTS_IMATRIX


@pytest.mark.parametrize("options", [{"type": "Q4_K_XXL"}, {"imatrix": "perhaps"}, {"nonsense": 1}])
def test_an_option_that_does_not_exist_is_refused(options):
    with pytest.raises(ValidationError):
        assert recipe(**options).chosen


# What the tools really made of SmolLM2 (MB as measured).
@pytest.mark.parametrize(
    ("made", "megabytes"),
    [
        (recipe(type="Q4_K_M"), 105.5),
        (recipe(type="Q8_0"), 144.8),
        (recipe(type="IQ4_XS"), 90.9),
        (recipe(type="F16"), 270.9),
        (recipe("gptq", group_size=64), 113.2),
        (recipe("awq", group_size=64), 114.0),
    ],
)
def test_the_estimated_size_is_within_a_twentieth_of_the_real_one(made, megabytes):
    found = sizing.needs(SMOL, "safetensors", made, None)
    assert found.result_bytes / 1e6 == pytest.approx(megabytes, rel=0.05)
    assert found.disk_bytes > found.result_bytes


def test_the_file_of_logits_has_the_size_that_llama_perplexity_writes():
    """Measured: three pieces of 512 tokens of SmolLM2 make 75,214,844 bytes."""
    assert sizing.logits_bytes(49_152, Measure(chunks=3)) == pytest.approx(75_214_844, rel=0.001)


def words(facts, source_format, made):
    found = refusing.refusals(facts, source_format, made)
    return [(refusal.field, f"{refusal.what} {refusal.advice}") for refusal in found]


@pytest.mark.parametrize(
    ("facts", "source_format", "made", "field", "text"),
    [
        (SMOL, "safetensors", recipe("gptq"), "group_size",
         "do not divide this model's hidden width 576, attention width 576. Choose 64."),
        (SMOL, "gguf", recipe("awq"), "", "AWQ 4-bit is made from safetensors, and this is gguf."),
        (replace(SMOL, quantisation="Q8_0"), "gguf", recipe(), "requantise", "quantised already (Q8_0)"),
        (replace(SMOL, quantisation="GPTQ 4-bit"), "safetensors", recipe(), "", "Start from the 16-bit files."),
        (replace(SMOL, architecture="newest"), "safetensors", recipe(), "",
         "converter does not know the architecture newest"),
        (SMOL, "safetensors", recipe(type="IQ2_XXS", imatrix=False), "imatrix", "needs an importance matrix"),
        (replace(SMOL, quantisation="F16"), "gguf", recipe(type="F16"), "type", "It is F16 already."),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_before(facts, source_format, made, field, text):
    found = words(facts, source_format, made)
    assert any(where == field and text in said for where, said in found), found


@pytest.mark.parametrize(
    ("facts", "source_format", "made"),
    [
        (SMOL, "safetensors", recipe("gptq", group_size=64)),
        (BIG, "safetensors", recipe("awq")),
        (replace(SMOL, quantisation="Q8_0"), "gguf", recipe(requantise=True)),
        (replace(SMOL, quantisation="F16"), "gguf", recipe()),
        (SMOL, "safetensors", recipe("int8")),
    ],
)
def test_what_can_be_done_is_not_refused(facts, source_format, made):
    assert words(facts, source_format, made) == []


@pytest.mark.parametrize(("chunks", "context", "tokens"), [(1, 128, 63), (3, 64, 93), (2, 104, 0), (1, 512, 0)])
def test_a_measurement_that_would_say_nothing_is_refused(chunks, context, tokens):
    """llama-perplexity ends well with fewer than 100 tokens and prints no divergence."""
    found = refusing.too_little_judged(Measure(chunks=chunks, context=context))
    assert [refusal.field for refusal in found] == (["chunks"] if tokens else [])
    assert not tokens or found[0].what.startswith(f"Only {tokens} tokens")


def test_a_host_without_room_is_named_with_both_numbers():
    needs = sizing.needs(BIG, "safetensors", recipe(), None)
    found = refusing.lack_of_room(needs, refusing.Room("attic", GIB, GIB))
    assert len(found) == 2 and all("attic" in refusal.what and refusal.field == "host" for refusal in found)
    assert refusing.lack_of_room(needs, refusing.Room("attic", None, None)) == []


@pytest.mark.parametrize(
    ("made", "source_format", "measure", "steps"),
    [
        (recipe(), "safetensors", Measure(), "prepare convert calibrate quantise logits judge speed baseline publish"),
        (recipe(imatrix=False), "gguf", Measure(speed=False), "prepare quantise logits judge publish"),
        (recipe(), "safetensors", None, "prepare convert calibrate quantise verify publish"),
        (recipe(type="F16"), "safetensors", Measure(), "prepare convert judge speed publish"),
        (recipe("awq"), "safetensors", Measure(), "prepare quantise judge speed baseline publish"),
        (recipe("int8"), "safetensors", Measure(speed=False), "prepare quantise judge publish"),
        (recipe("fp8"), "safetensors", None, "prepare quantise verify publish"),
    ],
)
def test_the_plan_has_the_steps_that_are_needed(made, source_format, measure, steps):
    assert plan.steps(made, source_format, measure) == steps.split()


def test_an_order_leads_from_the_parent_to_the_result():
    made = recipe(type="Q6_K")
    params = {
        "recipe": made.full(), "file": "smol-Q6_K.gguf", "steps": plan.steps(made, "safetensors", Measure()),
        "source": {"format": "safetensors", "folder": "/models/3", "main": "/models/3/config.json"},
        "measure": Measure(chunks=5).model_dump(),
    }  # fmt: skip
    assert plan.order(params, "convert")["source"] == "/models/3"
    quantise = plan.order(params, "quantise")
    assert quantise["model"] == plan.order(params, "convert")["out"] == plan.order(params, "logits")["model"]
    assert quantise["out"] == plan.order(params, "judge")["model"] == "/job/out/smol-Q6_K.gguf"
    assert plan.order(params, "judge")["base"] == plan.order(params, "logits")["out"]
    assert plan.order(params, "judge")["chunks"] == 5
    baseline = plan.order(params, "baseline")
    assert baseline == {**plan.order(params, "speed"), "model": quantise["model"]}, "timed as the result is"


@pytest.mark.parametrize(
    ("made", "image", "is_dispensable"),
    [(recipe("awq"), "modelyard/vllm:cpu", True), (recipe(), "modelyard/quantizer-gguf:1", False)],
)
def test_speed_is_measured_by_the_engine_that_will_serve_it(made, image, is_dispensable):
    params = {
        "recipe": made.full(), "file": "smol.gguf", "steps": plan.steps(made, "safetensors", Measure()),
        "source": {"format": "safetensors", "folder": "/models/3", "main": "/models/3/config.json"},
    }  # fmt: skip
    assert plan.program(params, "speed") == plan.program(params, "baseline")
    assert plan.program(params, "speed")[0] == image
    assert plan.is_dispensable(params, "speed") is is_dispensable
    assert plan.is_dispensable(params, "baseline")
    assert not plan.is_dispensable(params, "quantise") and not plan.is_dispensable(params, "judge")
    assert plan.order(params, "speed")["streams"] == [1, 8]


def candidate(number, size, divergence=None, speed=None):
    facts = replace(SMOL, weights_bytes=size, quantisation="Q4_K_M")
    return picking.Candidate(number, f"v{number}", facts, size, divergence, speed)


VARIANTS = [candidate(1, 8 * GIB, 0.001, 10), candidate(2, 4 * GIB, 0.02, 18), candidate(3, 2 * GIB, 0.3, 30)]


@pytest.mark.parametrize(
    ("memory", "priority", "number"),
    [(16, "quality", 1), (16, "size", 3), (16, "speed", 3), (5, "quality", 2), (1, "quality", None)],
)
def test_the_pick_is_the_best_that_fits(memory, priority, number):
    found = picking.pick(VARIANTS, memory * GIB, 2048, 1, priority)
    assert (found.candidate.artifact_id if found.candidate else None) == number
    assert found.why


def test_more_users_leave_less_room_for_weights():
    one = picking.pick(VARIANTS, 5 * GIB, 8192, 1, "quality").candidate
    many = picking.pick(VARIANTS, 5 * GIB, 8192, 10, "quality").candidate
    assert one.artifact_id == 2 and many.artifact_id == 3


def test_an_unmeasured_variant_stands_behind_measured_ones():
    unmeasured = candidate(9, 6 * GIB)
    assert picking.pick([unmeasured, *VARIANTS[1:]], 20 * GIB, 512, 1, "quality").candidate.artifact_id == 2


def test_the_front_leaves_out_what_another_beats_in_both():
    points = [(1, 100, 0.5), (2, 200, 0.1), (3, 250, 0.2), (4, 300, 0.0)]
    assert picking.front(points) == {1, 2, 4}
