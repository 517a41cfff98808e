"""What a toy takes of memory."""

from tests.engines.toy.options import ToyOptions
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import MIB, Capacity, Estimate, Term, estimate_of

SHEET_BYTES = MIB
CLOCKWORK_BYTES = 3 * MIB


def estimate(facts: ModelFacts, options: ToyOptions) -> Estimate:
    """Weights, sheets and clockwork, all on the host."""
    return estimate_of(
        (
            Term("weights", "Weights", facts.weights_bytes, "exact"),
            Term("stickers", f"{options.stickers} sheets of stickers", options.stickers * SHEET_BYTES, "config"),
            Term("clockwork", "Spring and wheels", CLOCKWORK_BYTES, "estimate"),
        )
    )


def suggest(facts: ModelFacts, options: ToyOptions, headroom: Capacity) -> str:
    """Fewer stickers, when that is enough."""
    fewer = options.model_copy(update={"stickers": 1})
    return "fits with 1 sheet of stickers" if headroom.holds(estimate(facts, fewer)) else ""
