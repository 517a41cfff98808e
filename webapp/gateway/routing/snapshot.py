"""The routing table as web hands it over, in two parts with a number each: keys and people, which change seldom and
may be many, and deployments with their replicas, which move."""

import msgspec

# Replica, host, url: what stays as it is for as long as an engine stays where it is.
Place = tuple[int, int, str]


class KeyEntry(msgspec.Struct, frozen=True):
    """`digest` is the hex SHA-256 of the whole key; `expires_at` is unix seconds."""

    id: int
    digest: str
    user: int
    team: int
    scopes: list[str] = []
    expires_at: float | None = None


class TeamEntry(msgspec.Struct, frozen=True):
    id: int
    slug: str


class PersonEntry(msgspec.Struct, frozen=True):
    """Everybody who has an account; whoever is deactivated has no teams."""

    id: int
    teams: list[int] = []
    is_admin: bool = False


class ReplicaEntry(msgspec.Struct, frozen=True):
    """`url` is http://address:port or unix:///path, as the host of this id sees it; older documents name no host."""

    id: int
    url: str
    state: str
    host: int = 0

    @property
    def place(self) -> Place:
        return self.id, self.host, self.url


class DeploymentEntry(msgspec.Struct, frozen=True):
    """Timeouts in seconds. `status` is one word for people, used when no replica is ready.

    `closes_after_stream`: its engine closes the connection behind a chunked answer although it promised to keep it.
    `usage_per_choice`: its usage counts one of the choices and one of the prompts of a request, not all of them.
    `token_counters`: by endpoint, where the engine counts the prompt of such a request.
    `ignored_members`: by endpoint, members of a request that the engine takes and does not heed.
    `created_at` is unix seconds. What nobody has learned of the engine yet is None.
    """

    id: int
    team: int
    name: str
    endpoints: list[str]
    upstream_model: str
    engine: str = ""
    aliases: list[str] = []
    granted_teams: list[int] = []
    desired: str = "running"
    status: str = ""
    closes_after_stream: bool = False
    usage_per_choice: bool = False
    token_counters: dict[str, str] = {}
    ignored_members: dict[str, list[str]] = {}
    created_at: float = 0
    context_length: int | None = None
    tools: bool | None = None
    vision: bool | None = None
    audio: bool | None = None
    max_tokens_default: int | None = None
    max_tokens_limit: int | None = None
    connect_timeout_s: float = 5
    first_byte_timeout_s: float = 600
    gap_timeout_s: float = 120
    replicas: list[ReplicaEntry] = []


class Principals(msgspec.Struct, frozen=True):
    """Who may ask."""

    version: str
    keys: list[KeyEntry] = []
    people: list[PersonEntry] = []


class Routes(msgspec.Struct, frozen=True):
    """What may be asked, and where it is answered."""

    version: str
    teams: list[TeamEntry] = []
    deployments: list[DeploymentEntry] = []


class Snapshot(msgspec.Struct, frozen=True):
    """What web tells: the parts that have changed."""

    principals: Principals | None = None
    routes: Routes | None = None


class Raw(msgspec.Struct, frozen=True):
    """The same as it came, to be stored."""

    principals: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    routes: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


NOBODY = Principals(version="")
NOWHERE = Routes(version="")

_decode = msgspec.json.Decoder(Snapshot).decode
_decode_raw = msgspec.json.Decoder(Raw).decode
_decode_principals = msgspec.json.Decoder(Principals).decode
_decode_routes = msgspec.json.Decoder(Routes).decode


def decode(document: bytes) -> Snapshot:
    """Raises msgspec.MsgspecError when the document is not a snapshot."""
    return _decode(document)


def raw_parts(document: bytes) -> dict[str, bytes]:
    """The parts of a snapshot by name, as they came."""
    found = _decode_raw(document)
    parts = {"principals": found.principals, "routes": found.routes}
    return {name: bytes(part) for name, part in parts.items() if part is not msgspec.UNSET}


def from_parts(principals: bytes, routes: bytes) -> Snapshot:
    """A snapshot from its parts as they were stored. Raises msgspec.MsgspecError."""
    return Snapshot(_decode_principals(principals), _decode_routes(routes))
