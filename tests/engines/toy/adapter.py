"""The toy as Modelyard sees it. Nothing in it is like the engines that come with the product."""

import json
from typing import Any, ClassVar

from tests.engines.toy import exits, log, memory
from tests.engines.toy.metrics import METRICS
from tests.engines.toy.options import ToyOptions
from webapp.engines.base import (
    Engine,
    EngineOptions,
    ExitFacts,
    ExitReason,
    HardwareAllocation,
    LaunchSpec,
    LogFact,
    ModelFiles,
    Preset,
    ProbeOutcome,
    ProbeSpec,
    Readiness,
)
from webapp.engines.metrics import Metrics
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import MIB, Capacity, Term

IMAGE = "modelyard-test/toy:1"


class Toy(Engine):
    """A clockwork server."""

    name: ClassVar[str] = "toy"
    title: ClassVar[str] = "Toy"
    formats: ClassVar[frozenset[str]] = frozenset({"gguf"})
    endpoints: ClassVar[tuple[str, ...]] = ("chat/completions", "models")
    Options: ClassVar[type[EngineOptions]] = ToyOptions
    port: ClassVar[int] = 7007
    stop_signal: ClassVar[str] = "SIGINT"
    presets: ClassVar[tuple[Preset, ...]] = (Preset("chat", "Playroom", "Stickers for everybody.", {"stickers": 9}),)
    metrics: ClassVar[Metrics | None] = METRICS

    def images(self, vendor: str) -> tuple[str, ...]:
        """It runs on processors."""
        return (IMAGE,) if vendor == "cpu" else ()

    def launch(self, model: ModelFiles, options: Any, hardware: HardwareAllocation) -> LaunchSpec:
        """Its port and name are arguments, its mood is in the environment."""
        argv = ["--port", str(self.port), "--name", model.alias, "--stickers", str(options.stickers)]
        return LaunchSpec(argv, {"TOY_MOOD": options.mood}, self.port, MIB, ("/tmp",), f"toy-{model.alias}")

    def health_probe(self) -> ProbeSpec:
        """It says in words whether it is wound up."""
        return ProbeSpec("GET", "/spring")

    def completion_probe(self, upstream_model: str, options: Any = None) -> ProbeSpec:
        """One word."""
        body = {"model": upstream_model, "messages": [], "max_tokens": 1}
        return ProbeSpec("POST", "/v1/chat/completions", json.dumps(body).encode(), timeout_s=30.0)

    def classify_health(self, outcome: ProbeOutcome) -> Readiness:
        """200 says nothing: the words do."""
        if outcome.status is None:
            return Readiness.REFUSED
        return Readiness.READY if outcome.body == b"wound up" else Readiness.LOADING

    def classify_completion(self, outcome: ProbeOutcome) -> Readiness:
        """It played."""
        if outcome.status is None:
            return Readiness.REFUSED
        return Readiness.READY if b"tick" in outcome.body else Readiness.FAILED

    def parse_log(self, line: str) -> LogFact | None:
        """Its own words."""
        return log.parse(line)

    def is_our_asking(self, line: str) -> bool:
        """Its own words for being looked at."""
        return log.is_our_asking(line)

    def explain_exit(self, facts: ExitFacts) -> ExitReason:
        """Its own way to break."""
        return exits.explain(facts)

    def memory_terms(self, meta: ModelFacts, options: Any, hardware: HardwareAllocation) -> list[Term]:
        """Weights, stickers and clockwork."""
        return list(memory.estimate(meta, options).terms)

    def suggest(self, meta: ModelFacts, options: Any, hardware: HardwareAllocation, headroom: Capacity) -> str:
        """Fewer stickers."""
        return memory.suggest(meta, options, headroom)
