"""What the planner knows of memory whatever the engine, and of what it compares with an engine's own words."""

import pytest

from tests.engines.llamacpp.test_memory import facts_of
from tests.planner.shapes import SHAPES
from webapp.planner import ggml
from webapp.planner.comparison import Comparison, compare
from webapp.planner.facts import KvGroup, ModelFacts
from webapp.planner.memory import MIB, Capacity, Estimate, Term, estimate_of, row_bytes, split


def an_estimate(*terms: Term) -> Estimate:
    return estimate_of(terms)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_divided_term_loses_no_byte(share: float) -> None:
    found = an_estimate(*split("weights", "Weights", 1001, "exact", share))
    assert (found.total_bytes, found.gpu_bytes) == (1001, round(1001 * share))
    assert all(term.bytes for term in found.terms), "what takes nothing is no term"


def test_room_on_the_host_is_none_on_the_card() -> None:
    found = an_estimate(Term("weights", "Weights", 5, "exact", "gpu"), Term("program", "Program", 3, "estimate"))
    assert Capacity(3, 5).holds(found)
    assert not Capacity(8, 4).holds(found) and not Capacity(2, 8).holds(found)


def test_a_token_takes_its_keys_and_values_in_their_own_types() -> None:
    group = KvGroup(32, 1024, 1024)
    assert row_bytes(group, ggml.cache_type("f16"), ggml.cache_type("f16")) == 4096
    assert row_bytes(group, ggml.cache_type("f16"), ggml.cache_type("q8_0")) == 2048 + 1088


def test_comparison_tells_too_much_from_too_little() -> None:
    found = an_estimate(Term("kv_cache", "Cache", 2 * MIB, "exact"))
    rows = {row.name: row for row in compare(found, {"kv_cache": 1 * MIB, "surprise": 5})}
    assert rows["kv_cache"] == Comparison("kv_cache", "Cache", 2 * MIB, MIB)
    assert rows["kv_cache"].difference_bytes == MIB
    assert rows["surprise"] == Comparison("surprise", "surprise", 0, 5)


def test_stored_facts_come_back_the_same() -> None:
    for name in SHAPES:
        facts = facts_of(name)
        assert ModelFacts.from_json(facts.as_json() | {"from_the_future": 1}) == facts


def test_facts_without_an_architecture_are_refused() -> None:
    with pytest.raises(ValueError, match="architecture"):
        ModelFacts.from_json({"layers": 3})
