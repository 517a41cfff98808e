"""A container engine in memory: what the Runtime protocol promises, and a world that a test can shake."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from workers.runtime.base import (
    ContainerFacts,
    ContainerMissing,
    ContainerSpec,
    EngineFault,
    HostUnreachable,
    NameTaken,
)


class MemoryRuntime:
    """Has every image. `is_silent`: no call is answered. `lines`: what a container printed. `stuck`: ids of containers
    that it fails to remove. `listing`: what becomes of its lists, "right", "empty" or "failing"; `unlisted`: ids
    that they lack in any case."""

    def __init__(self, daemon: str = "memory") -> None:
        self.daemon, self.is_silent, self.made = daemon, False, 0
        self.listing = "right"
        self.containers: dict[str, ContainerFacts] = {}
        self.specs: dict[str, ContainerSpec] = {}
        self.lines: dict[str, str] = {}
        self.stuck: set[str] = set()
        self.unlisted: set[str] = set()
        self.signals: dict[str, tuple[str, ...]] = {}

    def _answer(self) -> None:
        if self.is_silent:
            raise HostUnreachable("Docker did not answer within 10 seconds.")

    def _one(self, container: str) -> ContainerFacts:
        self._answer()
        for facts in self.containers.values():
            if container in (facts.id, facts.name):
                return facts
        raise ContainerMissing(container)

    def ping(self) -> None:
        self._answer()

    def identity(self) -> str:
        self._answer()
        return f"{self.daemon}@/memory"

    def info(self) -> dict[str, Any]:
        self._answer()
        return {"ID": self.daemon, "DockerRootDir": "/memory", "NCPU": 16, "MemTotal": 64 * 1024**3}

    def list(self, labels: Mapping[str, str]) -> list[ContainerFacts]:
        self._answer()
        if self.listing == "failing":
            raise EngineFault("the list of containers could not be read")
        listed = [one for one in self.containers.values() if self.listing == "right" and one.id not in self.unlisted]
        return [one for one in listed if labels.items() <= one.labels.items()]

    def inspect(self, container: str) -> ContainerFacts:
        return self._one(container)

    def create(self, spec: ContainerSpec) -> str:
        self._answer()
        if any(one.name == spec.name for one in self.containers.values()):
            raise NameTaken(spec.name)
        self.made += 1
        made = ContainerFacts(
            id=f"c{self.made}", name=spec.name, status="created", labels=dict(spec.labels), image=spec.image,
            address=spec.address, created_at=datetime.now(UTC),
        )  # fmt: skip
        self.containers[made.id], self.specs[made.id] = made, spec
        return made.id

    def start(self, container_id: str, line: str | None = None) -> None:
        facts = self._one(container_id)
        if facts.status == "created":
            self.containers[facts.id] = replace(facts, status="running", started_at=datetime.now(UTC))

    def signal(self, container_id: str, signal: str) -> None:
        self._answer()
        facts = self.containers.get(container_id)
        if facts is not None and facts.status == "running":
            self.signals[facts.id] = (*self.signals.get(facts.id, ()), signal)
            self.end(facts.id, 137 if signal == "SIGKILL" else 143)

    def signals_sent(self, container_id: str) -> tuple[str, ...]:
        self._answer()
        return self.signals.get(container_id, ())

    def remove(self, container_id: str) -> None:
        self._answer()
        for facts in list(self.containers.values()):
            if container_id in (facts.id, facts.name):
                if facts.id in self.stuck:
                    raise EngineFault("driver failed to remove root filesystem: device or resource busy")
                del self.containers[facts.id]

    def log_tail(self, container_id: str, lines: int) -> str:
        self._answer()
        return self.lines.get(container_id, "")

    def find_image(self, reference: str) -> str | None:
        self._answer()
        return f"sha256:{reference}"

    def ensure_network(self, name: str, subnets: tuple[str, ...], labels: Mapping[str, str]) -> str:
        self._answer()
        return subnets[0]

    def remove_network(self, name: str) -> bool:
        self._answer()
        return True

    def ensure_volume(self, name: str, labels: Mapping[str, str]) -> None:
        self._answer()

    def run(self, spec: ContainerSpec, limit_s: float) -> tuple[int, str]:
        self._answer()
        return 0, ""

    def end(self, container_id: str, code: int, printed: str = "") -> None:
        """The world: the container's program ends."""
        facts = self.containers[container_id]
        self.lines[container_id] = printed
        self.containers[container_id] = replace(facts, status="exited", exit_code=code, finished_at=datetime.now(UTC))

    def running(self, kind: str) -> "list[ContainerFacts]":
        return [one for one in self.containers.values() if one.status == "running" and one.kind == kind]
