"""What is to be placed: its memory on each kind of hardware, and what that hardware must be able to do. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from webapp import engines
from webapp.engines.base import Engine, EngineOptions, HardwareAllocation, OptionWarning, Vendor
from webapp.planner import placement
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import Capacity, Term
from webapp.planner.rough import rough_terms

MIB = 1024**2
# An estimate is not a promise: engines get a quarter more host memory, and some on top, before the kernel ends them.
MARGIN = 1.25
HEADROOM_BYTES = 256 * MIB


@dataclass(frozen=True)
class Workload:
    """One replica of these files with these options."""

    engine: Engine
    facts: ModelFacts
    options: EngineOptions
    # What an image of somebody's own can run is its maker's to know.
    has_own_image: bool = False
    # Of weights that nobody has read yet; 0 where the facts tell all.
    rough_bytes: int = 0

    def terms(self, hardware: HardwareAllocation) -> tuple[Term, ...]:
        """The memory it takes there. Raises ValueError when options and facts do not go together."""
        if self.rough_bytes:
            return tuple(rough_terms(self.rough_bytes, on_gpu=hardware.vendor != "cpu"))
        return tuple(self.engine.memory_terms(self.facts, self.options, hardware))

    def need(self, vendor: str) -> placement.Need:
        """What placement reserves for it on that kind of hardware. Raises ValueError as `terms` does."""
        one = to_reserve(self.terms(HardwareAllocation(cast(Vendor, vendor), ("",))))
        if vendor == "cpu":
            return one
        two = to_reserve(self.terms(HardwareAllocation(cast(Vendor, vendor), ("", ""))))
        return placement.Need(one.host_bytes, one.gpu_bytes, two.gpu_bytes - one.gpu_bytes)

    def why_not_on(self, vendor: str, flags: frozenset[str]) -> str:
        """Why it cannot run on that kind of hardware; empty when it can, as far as is known."""
        return "" if self.has_own_image else self.engine.why_not_on(vendor, self.facts, flags)

    def can_have(self, vendor: str) -> bool:
        """Whether there is an image for that kind of hardware."""
        return self.has_own_image or bool(self.engine.images(vendor))

    def demand(
        self,
        hosts: Sequence[placement.Host],
        pinned: int | None = None,
        labels: Iterable[str] = (),
        files_bytes: int | None = None,
    ) -> placement.Demand:
        """For the planner: accelerators first, then the CPU. `files_bytes`: they may be fetched and are so large.

        Raises ValueError as `terms` does.
        """
        vendors = [*sorted({card.vendor for host in hosts for card in host.accelerators}), "cpu"]
        kinds = {(vendor, host.cpu_flags) for host in hosts for vendor in vendors}
        return placement.Demand(
            needs={vendor: self.need(vendor) for vendor in vendors if self.can_have(vendor)},
            unfit={kind: why for kind in kinds if (why := self.why_not_on(*kind))},
            artifact_bytes=files_bytes or 0,
            may_fetch=files_bytes is not None,
            labels=frozenset(labels),
            pinned_host=pinned,
            counts=self.engine.accelerator_counts(self.facts, self.options),
            is_even=self.engine.splits_evenly,
            strategy="spread",
        )

    def warnings(self) -> tuple[OptionWarning, ...]:
        """Options that are allowed and probably not meant for these files."""
        return () if self.rough_bytes else self.engine.warnings(self.facts, self.options)

    def suggestion(self, hardware: HardwareAllocation, free: placement.Need) -> str:
        """The nearest change of options that would fit into what is free; empty when none is known."""
        if self.rough_bytes:
            return ""
        host_bytes = max(0, int((free.host_bytes - HEADROOM_BYTES) / MARGIN))
        headroom = Capacity(host_bytes, max(0, free.gpu_bytes))
        return self.engine.suggest(self.facts, self.options, hardware, headroom)


def loading(file_format: str) -> list[str]:
    """Names of the engines that load such files, in the order they are offered."""
    return [engine.name for engine in engines.all() if file_format in engine.formats]


def settled_options(engine: str, options: Mapping[str, Any], facts: Mapping[str, Any]) -> EngineOptions:
    """The options that these files are run with. Raises ValueError for options that the engine does not have."""
    known = engines.get(engine)
    chosen = known.Options.model_validate(options)
    return known.settled(chosen, ModelFacts.from_json(facts)) if facts else chosen


def engine_for(file_format: str) -> str:
    """The engine for such files when nobody names one; any other where none loads them."""
    return next(iter(loading(file_format)), engines.names()[0])


def of_size(weights_bytes: int, file_format: str, quantisation: str = "") -> Workload:
    """A model of which only the size is known, with the engine that loads such files and its default options."""
    engine = engines.get(engine_for(file_format))
    facts = ModelFacts("", quantisation=quantisation, weights_bytes=weights_bytes)
    return Workload(engine, facts, engine.Options(), rough_bytes=max(1, weights_bytes))


def to_reserve(terms: Iterable[Term]) -> placement.Need:
    """What placement reserves for these terms."""
    host_bytes = gpu_bytes = 0
    for term in terms:
        if term.place == "gpu":
            gpu_bytes += term.bytes
        else:
            host_bytes += term.bytes
    return placement.Need(int(host_bytes * MARGIN) + HEADROOM_BYTES, gpu_bytes)
