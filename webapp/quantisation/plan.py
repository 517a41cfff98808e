"""A job's steps and what each step's program is told. Pure: everything comes from the job's parameters.

Parameters of a job (made by services.queue): recipe, source {format, folder, main}, name (the model's), file (the
result's), calibration, judging, prompts (None, or with id, name and sha256), measure, needs, steps, and artifact_id
once reserved.
"""

from collections.abc import Mapping
from typing import Any

from webapp import engines
from webapp.engines.processors import Flags
from webapp.engines.vllm import exits
from webapp.planner.facts import ModelFacts
from webapp.quantisation.recipes import PLAIN_TYPES, VLLM_IMAGE, GgufOptions, Measure, Recipe, of_json

MODELS = "/models"
WORK = "/job"
OUT = f"{WORK}/out"
HALF = f"{WORK}/half.gguf"
MATRIX = f"{WORK}/imatrix.gguf"
LOGITS = f"{WORK}/logits.kld"
CALIBRATION = f"{WORK}/calibration.txt"
JUDGING = f"{WORK}/judging.txt"
PROMPTS = f"{WORK}/prompts.json"
# Steps of our own tools' image; all others run in the recipe's.
OURS = ("prepare", "publish")
# Enough to see that a result loads and makes sense of a text; a large model takes seconds for each of them.
VERIFY_TOKENS = 64
PROMPT_TOKENS, GENERATED_TOKENS, STREAMS = 128, 32, (1, 8)
VLLM_PROGRAM = ("python3", "/opt/modelyard/speed.py")
# The result is timed by the engine that will serve it.
SPEED = "speed"
# The source is timed like the result, so that there is something to compare with.
BASELINE = "baseline"
# How long an answer to a golden prompt may be.
ANSWER_TOKENS = 128


def steps(recipe: Recipe, source_format: str, measure: Measure | None, *, has_prompts: bool = False) -> list[str]:
    """The steps in their order."""
    *before, last = _steps(recipe, source_format, measure)
    return [*before, *(["prompts"] if has_prompts else []), last]


def _steps(recipe: Recipe, source_format: str, measure: Measure | None) -> list[str]:
    if recipe.what.makes != "gguf":
        if measure is None:
            return ["prepare", "quantise", "verify", "publish"]
        return ["prepare", "quantise", "judge", *([SPEED, BASELINE] if measure.speed else []), "publish"]
    chosen = recipe.chosen
    assert isinstance(chosen, GgufOptions)
    is_plain = chosen.type in PLAIN_TYPES
    found = ["prepare"]
    if source_format == "safetensors":
        found.append("convert")
    if recipe.wants_text:
        found.append("calibrate")
    if not (is_plain and source_format == "safetensors"):
        found.append("quantise")
    if measure is None:
        return [*found, "verify", "publish"]
    if "quantise" not in found:
        # The source in another format is its own base line.
        return [*found, "judge", *([SPEED] if measure.speed else []), "publish"]
    return [*found, "logits", "judge", *([SPEED, BASELINE] if measure.speed else []), "publish"]


def order(params: Mapping[str, Any], step: str) -> dict[str, Any]:
    """What the step's program is told; see compose/quantizers and compose/tools/staging.py."""
    recipe = of_json(params["recipe"])
    made = _gguf(params, recipe) if recipe.what.makes == "gguf" else _safetensors(params, recipe)
    return {"step": SPEED if step == BASELINE else step, **made[step]}


def program(params: Mapping[str, Any], step: str) -> tuple[str, tuple[str, ...] | None]:
    """The image of a step that is not ours, and its program where that is not what the image runs by itself.

    What the quantiser of safetensors made, and its source, is timed by the engine that will serve it.
    """
    recipe = of_json(params["recipe"])
    if step in (SPEED, BASELINE) and recipe.what.makes != "gguf":
        return VLLM_IMAGE, VLLM_PROGRAM
    return recipe.what.image, None


def why_untimed(recipe: Recipe, flags: Flags) -> str:
    """Why the engine that will serve the result cannot time it on processors with these flags; empty when it can."""
    if recipe.what.makes == "gguf":
        return ""
    return engines.get("vllm").why_not_on("cpu", ModelFacts("", quantisation=recipe.label), flags)


def complaint_in_words(complaint: str) -> str:
    """What the engine that times results said when it could not run one, as people read it."""
    return exits.in_words(complaint)


def is_dispensable(params: Mapping[str, Any], step: str) -> bool:
    """Whether the result is worth publishing without this step: vLLM's image is not on every host, and it does not run
    on a host's processors all that it runs on cards; the base line says nothing about the result itself."""
    return step == BASELINE or program(params, step)[0] == VLLM_IMAGE


def folder(job_id: int) -> str:
    """The job's own folder inside the models volume."""
    return f".work/job-{job_id}"


def _gguf(params: Mapping[str, Any], recipe: Recipe) -> dict[str, dict[str, Any]]:
    chosen = recipe.chosen
    assert isinstance(chosen, GgufOptions)
    source, out = params["source"], f"{OUT}/{params['file']}"
    is_from_folder = source["format"] == "safetensors"
    parent = HALF if is_from_folder else source["main"]
    is_plain = is_from_folder and chosen.type in PLAIN_TYPES
    measure = params.get("measure") or {}
    judged = {"text": JUDGING, "context": measure.get("context", VERIFY_TOKENS), "chunks": measure.get("chunks", 1)}
    base = LOGITS if "logits" in params["steps"] else None
    return {
        "convert": {
            "source": source["folder"],
            "out": out if is_plain else HALF,
            "type": chosen.type.lower() if is_plain else "f16",
            "name": params.get("name", ""),
        },
        "calibrate": {"model": parent, "text": CALIBRATION, "out": MATRIX, "chunks": chosen.calibration_chunks},
        "quantise": {
            "model": parent,
            "imatrix": MATRIX if recipe.wants_text else None,
            "out": out,
            "type": chosen.type,
            "requantise": chosen.requantise,
        },
        "logits": {"model": parent, "out": LOGITS, **judged},
        "judge": {"model": out, "base": base, **judged},
        "verify": {"model": out, "base": None, **judged},
        "prompts": {"model": out, "prompts": PROMPTS, "tokens": ANSWER_TOKENS},
        SPEED: _timed(out),
        BASELINE: _timed(parent),
    }


def _safetensors(params: Mapping[str, Any], recipe: Recipe) -> dict[str, dict[str, Any]]:
    source = params["source"]["folder"]
    measure = params.get("measure") or {}
    judged = {"text": JUDGING, "context": measure.get("context", VERIFY_TOKENS), "chunks": measure.get("chunks", 1)}
    chosen = recipe.chosen.model_dump()
    return {
        "quantise": {
            "source": source,
            "out": OUT,
            "method": recipe.method,
            "text": CALIBRATION if recipe.wants_text else None,
            **chosen,
        },
        "judge": {"model": OUT, "base": source, **judged},
        "verify": {"model": OUT, "base": None, **judged},
        "prompts": {"model": OUT, "prompts": PROMPTS, "tokens": ANSWER_TOKENS},
        SPEED: _timed(OUT),
        BASELINE: _timed(source),
    }


def _timed(model: str) -> dict[str, Any]:
    return {"model": model, "prompt": PROMPT_TOKENS, "generate": GENERATED_TOKENS, "streams": list(STREAMS)}
