"""Placement: who is refused and why, who is chosen and why, and how long it takes."""

import sys
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parts import figures
from webapp.planner.leading import leading
from webapp.planner.placement import GIB, Accelerator, Choice, Demand, Host, Need, apply, could, place

CPU = Demand({"cpu": Need(2 * GIB)}, artifact_bytes=GIB)
GPU = Demand({"nvidia": Need(GIB, 10 * GIB)}, artifact_bytes=GIB)
OLD, NEW = frozenset({"sse2"}), frozenset({"sse2", "avx512f"})
EITHER = Demand({"nvidia": Need(GIB, 10 * GIB), "cpu": Need(11 * GIB)})


def host(number: int = 1, **changes: object) -> Host:
    plain = Host(number, f"yard-{number}", free_memory_bytes=16 * GIB, free_disk_bytes=100 * GIB)
    return replace(plain, **changes)  # type: ignore[arg-type]


def gpu(name: str, free: int, total: int = 24, **changes: object) -> Accelerator:
    card = Accelerator(f"GPU-{name}", "nvidia", free * GIB, total * GIB, name, compute_capability="8.9")
    return replace(card, **changes)  # type: ignore[arg-type]


def test_the_only_host_is_chosen() -> None:
    decision = place(CPU, [host()])
    assert decision.chosen == Choice(1, "cpu")
    assert (decision.why, decision.reasons_by_host) == ("yard-1 can take it.", {})


@pytest.mark.parametrize(
    ("demand", "changes", "words"),
    [
        (CPU, {"is_allowed": False}, "team may not use"),
        (replace(CPU, pinned_host=7), {}, "pinned to another"),
        (replace(CPU, labels=frozenset({"lab", "gold"})), {"labels": frozenset({"lab"})}, "lacks the label gold"),
        (Demand({"cpu": Need(GIB)}, {("cpu", OLD): "It has no kernel for that."}), {"cpu_flags": OLD}, "no kernel for"),
        (CPU, {"is_online": False}, "cannot be reached"),
        (CPU, {"is_draining": True}, "being drained"),
        (CPU, {"free_memory_bytes": GIB}, "needs 2.0 GiB of memory, 1.0 GiB are free"),
        (CPU, {"free_disk_bytes": 0}, "files take 1.0 GiB, its disk has 0.0 GiB left"),
        (GPU, {}, "no usable nvidia accelerator"),
        (GPU, {"accelerators": (gpu("a", 24, is_usable=False),)}, "no usable nvidia accelerator"),
        (GPU, {"accelerators": (gpu("a", 24, vendor="amd"),)}, "no usable nvidia accelerator"),
        (GPU, {"accelerators": (gpu("a", 4), gpu("b", 9))}, "needs 10.0 GiB on nvidia; the most that is free is 9.0"),
        (replace(GPU, least_capability=9.0), {"accelerators": (gpu("a", 24),)}, "needs compute capability 9"),
    ],
)
def test_every_refusal_has_its_sentence(demand: Demand, changes: dict[str, object], words: str) -> None:
    decision = place(demand, [host(**changes)])
    assert decision.chosen is None
    assert words in decision.reasons_by_host[1]
    assert words in decision.why


def test_first_reason_is_the_one_that_matters_most() -> None:
    decision = place(CPU, [host(is_allowed=False, is_online=False, free_memory_bytes=0)])
    assert "team may not" in decision.reasons_by_host[1]  # nothing about a host that is not theirs


def test_files_that_are_there_need_no_disk() -> None:
    assert place(CPU, [host(free_disk_bytes=0, has_artifact=True)]).chosen


def test_tightest_gpu_is_taken_and_big_ones_stay_free() -> None:
    cards = (gpu("big", 80, 80), gpu("right", 11), gpu("middle", 20))
    decision = place(GPU, [host(accelerators=cards)])
    assert decision.chosen == Choice(1, "nvidia", ("GPU-right",))


def test_gpu_before_cpu_and_cpu_before_nothing() -> None:
    with_gpu, without = host(1, accelerators=(gpu("a", 24),)), host(2, has_artifact=True)
    decision = place(EITHER, [without, with_gpu])
    assert decision.chosen == Choice(1, "nvidia", ("GPU-a",))
    assert decision.reasons_by_host[2] == "yard-1 is better: it has the preferred hardware."
    assert place(EITHER, [without]).chosen == Choice(2, "cpu")


def test_several_gpus_only_where_the_engine_can_and_one_will_not_do() -> None:
    machine = host(accelerators=(gpu("a", 4), gpu("b", 5), gpu("c", 6)))
    assert place(GPU, [machine]).chosen is None
    decision = place(replace(GPU, counts=(1, 2, 3, 4)), [machine])
    assert decision.chosen == Choice(1, "nvidia", ("GPU-c", "GPU-b"))
    roomy = host(2, accelerators=(gpu("d", 11),))
    assert place(replace(GPU, counts=(1, 2, 3, 4)), [machine, roomy]).chosen == Choice(2, "nvidia", ("GPU-d",))


@pytest.mark.parametrize(
    ("better", "worse", "words"),
    [
        ({"has_artifact": True}, {"has_image": True}, "already has the files"),
        ({"has_image": True}, {}, "already has the image"),
        ({"price_per_hour": 0.5}, {"price_per_hour": 2.0}, "costs less"),
        ({"free_memory_bytes": 4 * GIB}, {}, "fits more tightly"),
    ],
)
def test_better_host_says_in_what(better: dict[str, object], worse: dict[str, object], words: str) -> None:
    decision = place(CPU, [host(1, **worse), host(2, **better)])
    assert decision.chosen == Choice(2, "cpu")
    assert words in decision.why
    assert words in decision.reasons_by_host[1]


def test_spreading_prefers_the_emptiest() -> None:
    demand = replace(CPU, strategy="spread")
    crowded, empty, small = host(1, replicas=3), host(2), host(3, free_memory_bytes=4 * GIB)
    decision = place(demand, [crowded, small, empty])
    assert decision.chosen == Choice(2, "cpu")
    assert "has the most room" in decision.reasons_by_host[3]
    assert "fewer replicas" in decision.reasons_by_host[1]


def test_equal_hosts_are_chosen_in_a_stable_order() -> None:
    hosts = [host(number) for number in (3, 1, 2)]
    assert place(CPU, hosts).chosen == place(CPU, hosts[::-1]).chosen == Choice(1, "cpu")


def test_no_hosts_and_many_refusals_are_summed_up() -> None:
    assert place(CPU, []).why == "No hosts yet."
    hosts = [host(number, is_online=False) for number in range(3)] + [host(9, is_draining=True)]
    assert place(CPU, hosts).why == "None of 4 hosts can take it; most common reason: The host cannot be reached."


def test_a_filter_tells_who_stays_and_why_the_others_go() -> None:
    staying, gone = apply(lambda _demand, one: "odd" if one.id % 2 else None, CPU, [host(1), host(2)])
    assert [one.id for one in staying] == [2]
    assert gone == {1: "odd"}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.builds(
            Host,
            id=st.integers(0, 10_000),
            name=st.just("h"),
            is_online=st.booleans(),
            is_draining=st.booleans(),
            is_allowed=st.booleans(),
            free_memory_bytes=st.integers(0, 4 * GIB),
            free_disk_bytes=st.integers(0, 2 * GIB),
            has_artifact=st.booleans(),
            accelerators=st.lists(
                st.builds(gpu, st.sampled_from("abc"), st.integers(0, 24), is_usable=st.booleans()), max_size=3
            ).map(tuple),
        ),
        max_size=6,
        unique_by=lambda one: one.id,
    ),
    st.sampled_from([CPU, GPU, EITHER, replace(GPU, counts=(1, 2, 3))]),
)
def test_every_host_is_chosen_or_has_a_reason_and_the_chosen_has_room(hosts: list[Host], demand: Demand) -> None:
    decision = place(demand, hosts)
    by_id = {one.id: one for one in hosts}
    chosen = decision.chosen
    assert set(decision.reasons_by_host) == set(by_id) - ({chosen.host_id} if chosen else set())
    assert all(decision.reasons_by_host.values())
    if chosen is None:
        return
    there, need = by_id[chosen.host_id], demand.needs[chosen.vendor]
    assert there.is_online and there.is_allowed and not there.is_draining
    assert there.free_memory_bytes >= need.host_bytes
    reserved = {
        one.id: one.free_bytes for one in there.accelerators if one.id in chosen.accelerator_ids and one.is_usable
    }
    assert chosen.vendor == "cpu" or sum(reserved.values()) >= need.gpu_bytes


def test_ten_times_the_hosts_cost_about_ten_times_as_much() -> None:
    """Counted in calls of functions; a search over pairs of hosts would make a hundred times as many."""
    cards = tuple(gpu(f"{number}", 5 + number) for number in range(8))
    hosts = [host(number, accelerators=cards, is_online=number % 7 > 0) for number in range(1000)]

    def took_s(number: int) -> float:
        began = time.process_time()
        assert place(EITHER, hosts[:number]).chosen is not None
        return time.process_time() - began

    def calls(number: int) -> int:
        made = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal made
            made += event == "call"

        sys.setprofile(count)
        try:
            place(EITHER, hosts[:number])
        finally:
            sys.setprofile(None)
        return made

    many_s = min(took_s(1000) for _ in range(9))
    figures.tell("placement among 1,000 hosts with eight GPUs each", many_s * 1000, 50, "ms")
    assert calls(1000) < 12 * calls(100)


def test_a_host_that_is_not_prepared_or_lacks_the_files_says_so() -> None:
    hosts = [
        host(1, is_prepared=False, has_artifact=True),
        host(2),
        host(3, has_artifact=True),
    ]
    decision = place(Demand({"cpu": Need(GIB)}, may_fetch=False), hosts)
    assert decision.chosen is not None and decision.chosen.host_id == 3
    assert decision.reasons_by_host == {
        1: "The host has not been prepared for engines yet.",
        2: "The model's files are not on the host.",
    }
    assert place(CPU, hosts[1:2]).chosen is not None


def test_equal_parts_are_only_given_where_the_smallest_card_holds_one() -> None:
    even = replace(GPU, counts=(1, 2), is_even=True)
    lopsided = host(1, accelerators=(gpu("a", 9), gpu("b", 4)))
    assert "needs 5.0 GiB on each of 2 nvidia accelerators; b has 4.0 GiB" in place(even, [lopsided]).why
    assert place(replace(even, is_even=False), [lopsided]).chosen
    level = host(1, accelerators=(gpu("a", 9), gpu("b", 5)))
    chosen = place(even, [level]).chosen
    assert chosen and chosen.share_bytes == (5 * GIB, 5 * GIB)


def test_a_number_of_cards_that_the_host_does_not_have_is_said() -> None:
    four = replace(GPU, counts=(4,))
    decision = place(four, [host(accelerators=(gpu("a", 24), gpu("b", 24)))])
    assert "needs 4 whole nvidia accelerators together, the host has 2" in decision.reasons_by_host[1]


def test_slices_of_a_card_are_never_used_together() -> None:
    several = replace(GPU, counts=(1, 2, 3))
    slices = (gpu("a", 8, is_slice=True), gpu("b", 9, is_slice=True))
    refused = place(several, [host(accelerators=slices)])
    assert "needs 10.0 GiB on nvidia; the most that is free is 9.0 GiB on b" in refused.why
    assert place(several, [host(accelerators=(*slices, gpu("c", 11, is_slice=True)))]).chosen
    whole = place(several, [host(accelerators=(*slices, gpu("c", 6), gpu("d", 5)))]).chosen
    assert whole and whole.accelerator_ids == ("GPU-c", "GPU-d")


def test_further_cards_cost_what_each_of_them_needs_for_itself() -> None:
    demand = Demand({"nvidia": Need(GIB, 10 * GIB, 2 * GIB)}, counts=(1, 2))
    assert place(demand, [host(accelerators=(gpu("a", 6), gpu("b", 5)))]).chosen is None
    chosen = place(demand, [host(accelerators=(gpu("a", 8), gpu("b", 4)))]).chosen
    assert chosen and chosen.share_bytes == (8 * GIB, 4 * GIB)


def test_a_host_is_asked_for_the_hardware_that_it_has() -> None:
    """What another host has says nothing about this one: a machine without cards does not lack any."""
    plain, carded = host(1, free_memory_bytes=GIB), host(2, accelerators=(gpu("a", 4),), free_memory_bytes=GIB)
    reasons = place(EITHER, [plain, carded]).reasons_by_host
    assert reasons[1] == "It needs 11.0 GiB of memory, 1.0 GiB are free."


@pytest.mark.parametrize(
    ("changes", "is_possible"),
    [
        ({"is_online": False}, True),
        ({"is_draining": True}, True),
        ({"is_prepared": False}, True),
        ({"free_memory_bytes": 0}, True),
        ({"total_memory_bytes": GIB}, False),
        ({"is_allowed": False}, False),
    ],
)
def test_what_a_host_could_take_if_it_were_empty_and_at_work(changes: dict[str, object], is_possible: bool) -> None:
    asked = host(**{"total_memory_bytes": 16 * GIB, "free_disk_bytes": 0, **changes})
    assert (could(CPU, asked) is not None) is is_possible


@settings(max_examples=200)
@given(
    st.lists(
        st.builds(
            host,
            number=st.integers(1, 50),
            free_memory_bytes=st.integers(0, 12).map(lambda n: n * GIB),
            total_memory_bytes=st.just(12 * GIB),
            free_disk_bytes=st.integers(0, 2).map(lambda n: n * GIB),
            is_online=st.booleans(),
            accelerators=st.lists(
                st.builds(gpu, st.sampled_from("abc"), st.integers(0, 24), is_slice=st.booleans()), max_size=3
            ).map(tuple),
        ),
        max_size=6,
        unique_by=lambda one: one.id,
    ),
    st.sampled_from([CPU, GPU, EITHER, replace(GPU, counts=(1, 2, 3)), replace(GPU, counts=(1, 2), is_even=True)]),
)
def test_what_goes_somewhere_goes_to_one_of_the_leading_hosts(hosts: list[Host], demand: Demand) -> None:
    firsts = [next((h.id for h in some if place(demand, [h]).chosen), None) for some in (hosts, leading(hosts))]
    assert firsts[0] == firsts[1]
