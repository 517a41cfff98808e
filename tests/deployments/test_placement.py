"""Where a replica goes, and what every other host says."""

from webapp.deployments import placement
from webapp.deployments.placement import AcceleratorOffer, Choice, Demand, HostOffer, choose, explain
from webapp.engines.base import HardwareGrant

GIB = 1024**3


def offer(number: int = 1, free: float = 32, **columns: object) -> HostOffer:
    values: dict[str, object] = {"id": number, "name": f"host{number}", "free_bytes": int(free * GIB)}
    return HostOffer(**{"usable_bytes": 32 * GIB, "cpu_count": 8, **values, **columns})  # type: ignore[arg-type]


def gpu(number: int, free: float) -> AcceleratorOffer:
    return AcceleratorOffer(number, f"GPU-{number}", "nvidia", int(free * GIB))


def takes(host_gib: float, gpu_gib: float | None = None) -> placement.Estimator:
    def demand(hardware: HardwareGrant) -> Demand | None:
        if hardware.vendor == "cpu":
            return Demand(int(host_gib * GIB))
        return None if gpu_gib is None else Demand(GIB, int(gpu_gib * GIB))

    return demand


def test_the_host_with_the_most_room_is_taken() -> None:
    choice, _refusals = choose([offer(1, 8), offer(2, 16)], takes(4))
    assert choice == Choice(2, "cpu", 4 * GIB)


def test_replicas_of_one_deployment_spread() -> None:
    choice, _refusals = choose([offer(1, 30, replicas_here=1), offer(2, 8)], takes(4))
    assert choice is not None and choice.host_id == 2


def test_a_gpu_comes_before_the_cpu_and_the_emptiest_gpu_first() -> None:
    offers = [offer(1, 32), offer(2, 16, accelerators=(gpu(5, 10), gpu(6, 20)))]
    choice, _refusals = choose(offers, takes(8, gpu_gib=6))
    assert choice == Choice(2, "nvidia", GIB, ((6, 6 * GIB),), ("GPU-6",))


def test_a_full_gpu_leaves_the_cpu_of_the_same_host() -> None:
    choice, _refusals = choose([offer(1, accelerators=(gpu(5, 2),))], takes(8, gpu_gib=6))
    assert choice == Choice(1, "cpu", 8 * GIB)


def test_every_refused_host_says_why() -> None:
    offers = [
        offer(1, is_online=False), offer(2, is_drained=True), offer(3, is_prepared=False), offer(4, has_copy=False),
        offer(5, free=3), offer(6, free=40),
    ]  # fmt: skip
    choice, refusals = choose(offers, takes(4), wanted_host=None)
    assert choice is not None and choice.host_id == 6
    assert {refusal.host: refusal.why for refusal in refusals} == {
        "host1": "it does not answer",
        "host2": "it takes no new replicas (drained)",
        "host3": "it has no engine network yet",
        "host4": "the model's files are not on it",
        "host5": "4.00 GiB of memory are needed and 3.00 GiB are free",
    }


def test_a_wanted_host_is_the_only_one_asked() -> None:
    choice, refusals = choose([offer(1), offer(2, free=1)], takes(4), wanted_host=2)
    assert choice is None
    assert explain(refusals) == (
        "No host has room. host1: another host was asked for; "
        "host2: 4.00 GiB of memory are needed and 1.00 GiB are free."
    )


def test_an_engine_that_runs_on_no_hardware_there_says_so() -> None:
    _choice, refusals = choose([offer(1)], lambda hardware: None)
    assert refusals[0].why == "the engine does not run on its hardware"
    assert explain([]) == "There is no host yet."
