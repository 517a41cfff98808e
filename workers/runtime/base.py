"""What workers ask of a container engine, in plain records, and what can go wrong.

RuntimeFault
├── HostUnreachable    no (complete) answer: nothing is known about the host
├── ImageMissing       the host does not have the image
├── ContainerMissing   no such container (this is certain knowledge)
├── NetworkMissing     the network is gone
├── NameTaken          a container of that name exists already
└── StartRefused       the engine understood and refused; the text says why
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

LABEL_INSTALLATION = "modelyard.installation"
LABEL_KIND = "modelyard.kind"
LABEL_ID = "modelyard.id"
LABEL_GENERATION = "modelyard.generation"
LABEL_ATTEMPT = "modelyard.attempt"
# For people and their filters; who a container is, the five above say.
LABEL_TEAM = "modelyard.team"
LABEL_DEPLOYMENT = "modelyard.deployment"
LABEL_REPLICA = "modelyard.replica"
LABEL_SPEC = "modelyard.spec"

ENGINE_NETWORK = "modelyard-engines"
MODELS_VOLUME = "modelyard-models"
MODELS_PATH = "/models"
# Where an engine's container has the folder of its socket.
SOCKET_PATH = "/run/modelyard"


class RuntimeFault(Exception):
    """Something between us and the container engine."""


class HostUnreachable(RuntimeFault):
    pass


class EngineFault(HostUnreachable):
    """The engine answered that it failed (5xx). That says as little about containers as silence does, but it is none:
    one container that cannot be removed takes no host away from all others."""


class ImageMissing(RuntimeFault):
    pass


class ContainerMissing(RuntimeFault):
    pass


class NetworkMissing(RuntimeFault):
    pass


class NameTaken(RuntimeFault):
    pass


class StartRefused(RuntimeFault):
    pass


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """Everything about a container that we decide. Sizes in bytes; 0 means no limit."""

    name: str
    image: str
    labels: Mapping[str, str]
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] | None = None
    user: str = "65534:65534"
    # None: no network at all. With a network, `address` is the container's fixed one. "container:<id>": that one's.
    network: str | None = None
    address: str = ""
    # Host path, volume or folder of a volume ("name", "name/folder") -> (path inside, "ro" or "rw").
    mounts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    tmpfs: tuple[str, ...] = ("/tmp",)  # noqa: S108  a path inside the container
    memory_bytes: int = 0
    cpu_count: int = 0
    shm_bytes: int = 0
    pids: int = 4096
    read_only_root: bool = True
    init: bool = True
    add_capabilities: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"
    stop_timeout_s: int = 30
    # (driver, device ids): what --gpus or a device plug-in is given.
    devices: tuple[str, tuple[str, ...]] | None = None
    # Device nodes of the host, for vendors without a plug-in.
    device_nodes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    # Its program reads one line from its standard input when it starts; see Runtime.start.
    reads_input: bool = False


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """One container as the engine describes it."""

    id: str
    name: str
    status: str
    labels: Mapping[str, str]
    image: str = ""
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""
    # Where it answers: its socket's path on the host, or its address on a network.
    address: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def kind(self) -> str:
        return self.labels.get(LABEL_KIND, "")

    @property
    def row_id(self) -> int:
        """The id of the row it belongs to, -1 when the label is no number."""
        text = self.labels.get(LABEL_ID, "")
        return int(text) if text.isdecimal() else -1

    @property
    def generation(self) -> int:
        text = self.labels.get(LABEL_GENERATION, "")
        return int(text) if text.isdecimal() else 0

    @property
    def attempt(self) -> int:
        text = self.labels.get(LABEL_ATTEMPT, "")
        return int(text) if text.isdecimal() else 0


class Runtime(Protocol):
    """A host's container engine. Every call raises HostUnreachable when there was no complete answer."""

    def ping(self) -> None:
        """Only whether the engine answers."""
        ...

    def identity(self) -> str:
        """Which engine answers: the same text for as long as it is the same engine with the same containers."""
        ...

    def info(self) -> dict[str, Any]:
        """What the engine says about its machine, in Docker's words."""
        ...

    def list(self, labels: Mapping[str, str]) -> list[ContainerFacts]:
        """All containers with these labels, running or not; without exit codes and dates (see inspect)."""
        ...

    def inspect(self, container: str) -> ContainerFacts:
        """By id or name. Raises ContainerMissing."""
        ...

    def create(self, spec: ContainerSpec) -> str:
        """The id of a new, not started container. Raises ImageMissing, NameTaken, NetworkMissing, StartRefused."""
        ...

    def start(self, container_id: str, line: str | None = None) -> None:
        """Start it; a running one stays as it is. Raises ContainerMissing, StartRefused, NetworkMissing.

        `line` goes to its standard input and is kept nowhere. When we die in between, its input ends without it.
        """
        ...

    def signal(self, container_id: str, signal: str) -> None:
        """Send a signal and return; a container that does not run is no error."""
        ...

    def signals_sent(self, container_id: str) -> tuple[str, ...]:
        """Names of the signals that the engine remembers to have sent the container, oldest first, ours among them.

        It remembers some hundred events of all containers, and none from before its own start.
        """
        ...

    def remove(self, container_id: str) -> None:
        """Remove it, killing it when it runs; one that is gone already is no error."""
        ...

    def log_tail(self, container_id: str, lines: int) -> str:
        """The newest lines it printed, at most; empty when it is gone."""
        ...

    def find_image(self, reference: str) -> str | None:
        """The image's id, or None when the host does not have it."""
        ...

    def ensure_network(self, name: str, subnets: tuple[str, ...], labels: Mapping[str, str]) -> str:
        """The subnet of the internal network of this name, made in the first of `subnets` that is free."""
        ...

    def remove_network(self, name: str) -> bool:
        """False while a container still uses it; one that is gone already is no error."""
        ...

    def ensure_volume(self, name: str, labels: Mapping[str, str]) -> bool:
        """True when the volume was made now."""
        ...

    def run(self, spec: ContainerSpec, timeout_s: float) -> tuple[int, str]:
        """Run a short helper container to its end: exit code and output. It is removed whatever happens."""
        ...
