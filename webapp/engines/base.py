"""What an engine is to Modelyard: the records that cross the border, and the Engine.

An engine file holds data and pure functions. It never opens a socket, reads a file or talks to Docker: it says
what to start (LaunchSpec), what to ask (ProbeSpec) and what an answer, a log line or a death means.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from webapp.engines.metrics import Metrics
from webapp.engines.processors import UNKNOWN, Flags
from webapp.planner.facts import ModelFacts
from webapp.planner.memory import Capacity, Term

# Of less no engine here makes a cache; a header that says so has it from no training.
LEAST_CONTEXT = 256
Vendor = Literal["cpu", "nvidia", "amd", "intel"]


class EngineOptions(BaseModel):
    """What people may choose about one engine. Unknown names are refused, so nothing reaches argv unseen.

    Title, help, kind and limits of each field make its place in forms.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    # What nearly everybody decides; forms keep the rest behind "More options".
    basic: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of one artifact as the container sees them."""

    path: str  # "/models/<artifact id>/<main file>"; the first part of a split model
    alias: str  # the name the engine answers to
    format: str  # "gguf", "safetensors"
    metadata: Mapping[str, Any] = field(default_factory=dict)  # ModelFacts.as_json()


@dataclass(frozen=True, slots=True)
class HardwareAllocation:
    """What placement reserved for one replica."""

    vendor: Vendor
    device_ids: tuple[str, ...] = ()  # vendor's own ids (GPU-..., MIG-...); empty on "cpu"
    memory_limit_bytes: int = 0  # of host memory; 0 = no limit
    cpu_count: int = 1  # whole CPUs the container may use


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """How to start the container; argv follows the image's entry point."""

    argv: list[str]
    env: dict[str, str]
    port: int
    shm_bytes: int
    tmpfs: tuple[str, ...]
    upstream_model: str


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """One HTTP question to the engine. The watcher asks it; `timeout_s` is for the whole exchange."""

    method: str
    path: str
    body: bytes | None = None  # JSON when given
    timeout_s: float = 2.0


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """What came back. `error` is set exactly when there was no complete HTTP answer (refused, reset, timeout)."""

    status: int | None
    body: bytes = b""
    error: str | None = None


class Readiness(StrEnum):
    """What one probe says."""

    REFUSED = "refused"  # nobody answered: not up yet, or gone; the container's state tells which
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"  # answered, and the answer is wrong


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine says of itself and the model that it serves. None is what it does not say.

    `context_length` is in tokens, of one request.
    """

    tools: bool | None = None
    vision: bool | None = None
    audio: bool | None = None
    context_length: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LogFact:
    """What one log line says beyond its text.

    progress: `key` is the stage, `fraction` its place among the stages (0..1), `text` a phrase for people.
    buffer: `key` is the name of a memory term, `value_bytes` its size, `device` where it lies ("CPU", "CUDA0").
    Sizes of one key and device add up, unless `replaces` says that this one stands for those before it.
    error: `text` is the engine's complaint without its prefix.
    """

    kind: Literal["progress", "buffer", "error"]
    key: str
    value_bytes: int | None = None
    fraction: float | None = None
    text: str | None = None
    device: str | None = None
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class ExitFacts:
    """Everything known about a container that is not running (any more)."""

    exit_code: int | None  # None: it never started
    oom_killed: bool = False
    error_text: str = ""  # Docker's State.Error, or the text of the error that create or start raised
    stop_requested: bool = False  # we had asked it to stop
    daemon_restarted: bool = False  # Docker's start time moved past the container's
    log_tail: str = ""
    health_failed: bool = False  # we killed it, because it ran but no longer answered
    signal_sent: str = ""  # "SIGTERM": somebody had Docker send it, after which it ended
    shut_down: bool = False  # `make down` stopped it
    was_ready: bool = False  # it had been ready in this run


class ExitCode(StrEnum):
    """The kinds of death that are told apart."""

    STOPPED = "stopped"
    OUT_OF_MEMORY = "out_of_memory"
    GPU_OUT_OF_MEMORY = "gpu_out_of_memory"
    KILLED = "killed"
    DAEMON_RESTART = "daemon_restart"
    SHUT_DOWN = "shut_down"
    UNHEALTHY = "unhealthy"
    MODEL_REFUSED = "model_refused"
    KERNEL_MISSING = "kernel_missing"
    BAD_OPTION = "bad_option"
    IMAGE_MISSING = "image_missing"
    START_FAILED = "start_failed"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class ExitReason:
    """Why it died, for people: what happened, what to do, and whether another try can help without them."""

    code: ExitCode
    message: str
    advice: str
    retry: bool


@dataclass(frozen=True, slots=True)
class ListedDevice:
    """One device as an engine calls it: "CUDA0", "ROCm1", "Vulkan0"."""

    backend: str
    index: int
    name: str
    memory_bytes: int
    free_bytes: int
    shares_host_memory: bool = False


@dataclass(frozen=True, slots=True)
class DeviceList:
    """How to ask an engine's image which devices it sees: arguments, and what the output means.

    `parse` raises ProbeError (webapp.inventory.probes) when there is no list in it.
    """

    argv: tuple[str, ...]
    parse: Callable[[str], Sequence[ListedDevice]]


@dataclass(frozen=True, slots=True)
class Preset:
    """Options to begin with, under a name for people. `key` tells an engine's presets apart."""

    key: str
    name: str
    about: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OptionWarning:
    """An option that may be so and is probably not meant. `value` is the one to take instead."""

    option: str
    text: str
    value: int


class Engine(ABC):
    """One engine. Instances are stateless and shared. What has a value here may be left out of an adapter."""

    name: ClassVar[str]
    title: ClassVar[str]
    formats: ClassVar[frozenset[str]]  # of files, as artifacts name them: "gguf", "safetensors"
    endpoints: ClassVar[tuple[str, ...]]  # below /v1/, all that it can answer; see `offers`
    Options: ClassVar[type[EngineOptions]]
    port: ClassVar[int]
    stop_signal: ClassVar[str] = "SIGTERM"
    drain_s: ClassVar[int] = 30  # how long our proxy waits for requests in flight
    stop_timeout_s: ClassVar[int] = 10  # from the stop signal to SIGKILL
    read_only_root: ClassVar[bool] = True
    needs_init: ClassVar[bool] = True
    splits_evenly: ClassVar[bool] = False  # accelerators that it uses together all take the same
    closes_after_stream: ClassVar[bool] = False  # it ends the connection after a chunked answer, whatever it says
    past_training: ClassVar[str] = "beyond that its answers lose the thread, and the cache takes memory for nothing."
    usage_per_choice: ClassVar[bool] = False  # its usage is that of one choice of one prompt, however many it answers
    # By endpoint, the path that counts the prompt of such a request: its answer has input_tokens, count or tokens.
    token_counters: ClassVar[Mapping[str, str]] = {}
    # By endpoint, members of OpenAI's requests that it takes without heeding them.
    ignored_members: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    takes_socket: ClassVar[bool] = False  # it can listen on a unix socket; else a forwarder offers one to its port
    presets: ClassVar[tuple[Preset, ...]] = ()
    metrics: ClassVar[Metrics | None] = None  # None: it tells nothing of itself
    device_list: ClassVar[DeviceList | None] = None  # None: its image lists no devices

    @abstractmethod
    def images(self, vendor: str) -> tuple[str, ...]:
        """Image references for that hardware, best first; empty when the engine cannot run there."""

    def accelerator_counts(self, meta: ModelFacts, options: Any) -> tuple[int, ...]:
        """How many accelerators of one host it can use together for these files, fewest first.

        Raises ValueError for a number that was chosen and that these files cannot be divided among.
        """
        return (1,)

    def why_not_on(self, vendor: str, meta: ModelFacts, flags: Flags = UNKNOWN) -> str:
        """Why it cannot run these files on that hardware, with what to do; empty when it can, as far as is known.

        `flags` are those of the host's processors; none while nobody has looked.
        """
        return ""

    def settled(self, options: Any, meta: ModelFacts) -> Any:
        """The options it is run with: what these files leave no choice about is in them."""
        return options

    def offers(self, options: Any, meta: ModelFacts) -> tuple[str, ...]:
        """The endpoints that it answers with these options and files."""
        return self.endpoints

    @abstractmethod
    def launch(self, model: ModelFiles, options: Any, hardware: HardwareAllocation) -> LaunchSpec:
        """How to start it. Raises ValueError with a message for people when the three do not fit together."""

    def serves_embeddings(self, generates: bool, options: Mapping[str, Any]) -> bool:
        """Whether it would answer with vectors instead of talk. `options` as stored: only what was chosen."""
        return not generates

    def on_socket(self, launch: LaunchSpec, path: str) -> LaunchSpec:
        """The same, answering on the unix socket at this path of the container; asked where `takes_socket` is true."""
        raise NotImplementedError

    @abstractmethod
    def health_probe(self) -> ProbeSpec:
        """A question cheap enough for every second."""

    @abstractmethod
    def completion_probe(self, upstream_model: str, options: Any = None) -> ProbeSpec:
        """A real request that makes the engine compute one token (or one embedding)."""

    @abstractmethod
    def classify_health(self, outcome: ProbeOutcome) -> Readiness:
        """What the answer to the health probe means."""

    @abstractmethod
    def classify_completion(self, outcome: ProbeOutcome) -> Readiness:
        """What the answer to the completion probe means."""

    def capabilities_probe(self) -> ProbeSpec | None:
        """What to ask once it is ready, to learn what it can do; None: it cannot be asked."""
        return None

    def read_capabilities(self, body: bytes) -> Capabilities:
        """What it said to that. Never fails: what is not understood is not known."""
        return Capabilities()

    def parse_log(self, line: str) -> LogFact | None:
        """What the line says, or None for the many that say nothing we use."""
        return None

    def is_our_asking(self, line: str) -> bool:
        """Whether the line only says that we looked: a health or metrics question answered well."""
        return False

    @abstractmethod
    def explain_exit(self, facts: ExitFacts) -> ExitReason:
        """Why it is not running."""

    @abstractmethod
    def memory_terms(self, meta: ModelFacts, options: Any, hardware: HardwareAllocation) -> list[Term]:
        """The memory it will take, as named terms."""

    def warnings(self, meta: ModelFacts, options: Any) -> tuple[OptionWarning, ...]:
        """What is allowed and probably not meant: a context that these files were not trained for."""
        trained, asked = meta.context_length, getattr(options, "context_length", 0)
        if trained < LEAST_CONTEXT or asked <= trained:
            return ()
        what = f"The model was trained for a context of {trained:,} tokens, and {asked:,} are asked for"
        return (OptionWarning("context_length", f"{what}: {self.past_training}", trained),)

    def suggest(self, meta: ModelFacts, options: Any, hardware: HardwareAllocation, headroom: Capacity) -> str:
        """The nearest change of options with which it fits into `headroom`, in words ("fits with context 16384").

        Empty when none is known, and when it fits as it is.
        """
        return ""
