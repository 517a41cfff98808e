"""Why a recipe cannot be made of an artifact on a host, in words, before anything is queued. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from webapp.engines.processors import Flags, lacking
from webapp.planner.facts import ModelFacts
from webapp.quantisation.recipes import WANTS_IMATRIX, GgufOptions, Measure, Recipe, group_size_of, lacks_image
from webapp.quantisation.sizing import Needs, judged_tokens

SIXTEEN_BIT = frozenset({"", "F16", "BF16", "F32", "FP16"})
GROUPS = (128, 64, 32)
# Of fewer llama-perplexity prints no statistics, which would be seen when everything else is done.
LEAST_JUDGED = 100


@dataclass(frozen=True, slots=True)
class Refusal:
    """`field`: the option it is about, or nothing."""

    what: str
    advice: str
    field: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """A host's free disk and the memory that jobs may reserve, in bytes; None where nobody has looked yet."""

    name: str
    disk_free_bytes: int | None
    usable_bytes: int | None


def refusals(facts: ModelFacts, source_format: str, recipe: Recipe) -> list[Refusal]:
    """What about the model and the recipe does not go together."""
    found = [*_wrong_source(facts, source_format, recipe), *_unknown(facts, source_format, recipe)]
    chosen = recipe.chosen
    if isinstance(chosen, GgufOptions) and chosen.type in WANTS_IMATRIX and not chosen.imatrix:
        found.append(Refusal(f"{chosen.type} needs an importance matrix.", "Switch imatrix on.", "imatrix"))
    size = group_size_of(recipe)
    if size:
        found += _indivisible(facts, size)
    return found


def too_little_judged(measure: Measure | None) -> list[Refusal]:
    """A measurement that would say nothing."""
    if measure is None or judged_tokens(measure) >= LEAST_JUDGED:
        return []
    said = f"Only {judged_tokens(measure)} tokens would be evaluated; the minimum is {LEAST_JUDGED}."
    return [Refusal(said, "Use more or longer chunks.", "chunks")]


def lack_of_room(needs: Needs, room: Room) -> list[Refusal]:
    """What the host lacks."""
    found = []
    if room.disk_free_bytes is not None and room.disk_free_bytes < needs.disk_bytes:
        found.append(
            Refusal(
                f"{room.name} has {room.disk_free_bytes:,} bytes of disk free; this needs {needs.disk_bytes:,}.",
                "Remove models that nobody uses there, or choose another host.",
                "host",
            )
        )
    if room.usable_bytes is not None and room.usable_bytes < needs.memory_bytes:
        found.append(
            Refusal(
                f"{room.name} has {room.usable_bytes:,} bytes of memory for jobs; this needs {needs.memory_bytes:,}.",
                "Choose a host with more memory.",
                "host",
            )
        )
    return found


def lack_of_instructions(recipe: Recipe, host_name: str, flags: Flags) -> list[Refusal]:
    """What the tools were compiled for and the host's processors do not have; nothing while nobody has looked."""
    missing = lacking(flags, *recipe.what.needs_flags)
    if not missing:
        return []
    said = f"The tools for {recipe.what.title} need {', '.join(missing)}, which the processors of {host_name} lack."
    return [Refusal(said, "Choose a newer host, or another method.", "host")]


def lack_of_image(recipe: Recipe, host_name: str, host_facts: Mapping[str, Any]) -> list[Refusal]:
    """The tools are not on the host, as far as its last look told; nothing while nobody has looked."""
    if not lacks_image(host_facts, recipe.what.image):
        return []
    said = f"{host_name} does not have the image for {recipe.what.title} yet, so the job would fail there."
    advice = (
        "An admin runs `make quantizers` on that machine first: once, about 20 minutes. "
        "It is seen here within a minute; until then choose another host."
    )
    return [Refusal(said, advice, "host")]


def is_quantised(facts: ModelFacts) -> bool:
    return facts.quantisation.upper() not in SIXTEEN_BIT


def _wrong_source(facts: ModelFacts, source_format: str, recipe: Recipe) -> list[Refusal]:
    method, chosen = recipe.what, recipe.chosen
    if source_format not in method.takes:
        needed = " or ".join(sorted(method.takes))
        return [Refusal(f"{method.title} is made from {needed}, and this is {source_format}.", "Choose another file.")]
    if not is_quantised(facts):
        is_copy = isinstance(chosen, GgufOptions) and chosen.type == facts.quantisation and source_format == "gguf"
        return [Refusal(f"It is {facts.quantisation} already.", "Choose another type.", "type")] if is_copy else []
    if source_format != "gguf":
        return [Refusal(f"The source is quantised already ({facts.quantisation}).", "Start from the 16-bit files.")]
    if isinstance(chosen, GgufOptions) and not chosen.requantise:
        return [
            Refusal(
                f"The source is quantised already ({facts.quantisation}): errors add up.",
                "Start from the 16-bit files, or allow it with “requantise”.",
                "requantise",
            )
        ]
    return []


def _unknown(facts: ModelFacts, source_format: str, recipe: Recipe) -> list[Refusal]:
    if source_format != "safetensors":
        return []
    tool, names = ("llama.cpp's converter", "converter") if recipe.method == "gguf" else ("llm-compressor", "causal")
    if facts.architecture in architectures()[names]:
        return []
    return [Refusal(f"{tool} does not know the architecture {facts.architecture}.", "Choose another method.")]


def _indivisible(facts: ModelFacts, size: int) -> list[Refusal]:
    """Each row of a layer is cut into groups, so their size must divide what goes into every layer."""
    widths = {
        "hidden": facts.embedding_length,
        "feed-forward": facts.feed_forward_length,
        "attention": facts.heads * facts.key_length,
    }
    odd = {name: width for name, width in widths.items() if width % size}
    if not odd:
        return []
    fitting = [group for group in GROUPS if not any(width % group for width in widths.values())]
    told = ", ".join(f"{name} width {width}" for name, width in odd.items())
    advice = f"Choose {fitting[0]}." if fitting else "Choose a method without groups."
    return [Refusal(f"Groups of {size} do not divide this model's {told}.", advice, "group_size")]


@cache
def architectures() -> dict[str, frozenset[str]]:
    """The model_type names that each tool loads."""
    stored = json.loads(Path(__file__).with_name("architectures.json").read_text())
    return {name: frozenset(stored[name]) for name in ("converter", "causal")}
