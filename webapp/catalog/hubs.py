"""The adapter to hubs: the real huggingface_hub library over our own checked connections, every error mapped here."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from webapp.catalog import outbound
from webapp.catalog.models import HUB_TOKEN, Hub
from webapp.catalog.outbound import OutboundError, Policy
from webapp.catalog.weight_sets import File
from webapp.foundation import paths
from webapp.foundation.crypto import DecryptionError
from webapp.foundation.deadline import Deadline
from webapp.foundation.errors import Conflict, Invalid, ServiceError, Unavailable
from webapp.foundation.iri import to_uri
from webapp.foundation.text import one_line

# One question to a hub, with all its redirects and pages.
TIMEOUT_S = 10.0
# The beginning of a file: a header with a large vocabulary is several megabytes.
HEADER_TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 32 * 2**20
MOST_FOUND = 30
OFFLINE_ADVICE = (
    "Check the network and the proxy, add a mirror under Models > Hubs, import local files, or download from a URL."
)

_policy: ContextVar[Policy] = ContextVar("policy")
_deadline: ContextVar[Deadline] = ContextVar("deadline")


@dataclass(frozen=True, slots=True)
class FoundRepo:
    """One line of a search."""

    name: str
    downloads: int
    likes: int
    updated_at: datetime | None
    is_gated: bool
    formats: tuple[str, ...]
    task: str


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository at one commit."""

    name: str
    commit: str
    revision: str
    files: tuple[File, ...]
    licence: str
    is_gated: bool
    page: str
    updated_at: datetime | None = None


def check_enabled(hub: Hub) -> None:
    """Raise Conflict for a hub that is switched off: nobody asks it anything."""
    if not hub.is_enabled:
        raise Conflict(f"The hub {hub.name} is disabled.", "Enable it, or choose another.")


def search(hub: Hub, words: str) -> list[FoundRepo]:
    """The most downloaded repositories that match. Raises ServiceError."""
    with _asking(hub, words) as api:
        found = api.list_models(search=words.strip()[:200] or None, limit=MOST_FOUND, sort="downloads", full=True)
        return [
            FoundRepo(
                name=one_line(item.id),
                downloads=item.downloads or 0,
                likes=item.likes or 0,
                updated_at=item.last_modified,
                is_gated=bool(item.gated),
                formats=_formats(item),
                task=one_line(item.pipeline_tag or ""),
            )
            for item in found
        ]


def repo(hub: Hub, name: str, revision: str = "") -> Repo:
    """The repository's files at a branch, tag or commit (its main branch when empty), pinned to the commit."""
    with _asking(hub, name) as api:
        info = api.model_info(name, revision=revision or None, files_metadata=True, timeout=TIMEOUT_S)
    card: Mapping[str, Any] = info.card_data.to_dict() if info.card_data else {}
    licence = one_line(card.get("license_name") or card.get("license") or "")
    files = tuple(
        File(
            item.rfilename,
            (item.lfs.size if item.lfs else item.size) or 0,
            item.lfs.sha256 if item.lfs else None,
            None if item.lfs else item.blob_id,
        )
        for item in info.siblings or ()
    )
    if not info.sha:
        raise Unavailable(f"{hub.name} does not say which commit {name} is at.", "Try again later.")
    page = f"{hub.url}/{name}"
    return Repo(
        one_line(info.id),
        one_line(info.sha),
        revision or "main",
        files,
        licence[:80],
        bool(info.gated),
        page,
        info.last_modified,
    )


def file_url(hub: Hub, name: str, commit: str, path: str) -> str:
    return f"{hub.url}/{name}/resolve/{commit}/{quote(path)}"


def secret_headers(hub: Hub) -> dict[str, str]:
    """What opens private and gated repositories. Raises Conflict when the token cannot be read."""
    if not hub.sealed_token:
        return {}
    try:
        return {"Authorization": f"Bearer {HUB_TOKEN.decrypt(hub)}"}
    except DecryptionError as error:
        raise Conflict(f"The token of {hub.name} cannot be read.", "Enter it again in Settings > Hubs.") from error


def policy(hub: Hub) -> Policy:
    """Where requests on behalf of this hub may go."""
    allowed = outbound.environment_policy()
    try:
        name = urlsplit(to_uri(hub.url)).hostname
    except ValueError:  # whoever asks it is told
        name = None
    return replace(allowed, hosts=(name,)) if hub.allows_private and name else allowed


@contextmanager
def open_file(hub: Hub, name: str, commit: str, path: str) -> Iterator[outbound.Response]:
    """A file's content from its beginning. Raises ServiceError."""
    try:
        response = outbound.get(
            file_url(hub, name, commit, path),
            policy(hub),
            secret_headers=secret_headers(hub),
            deadline=Deadline(HEADER_TIMEOUT_S),
        )
        with response:
            if response.status != 200:
                raise _refusal(hub, name, response.status, response.headers.get("X-Error-Code", ""))
            yield response
    except OutboundError as error:
        raise _unreachable(hub, error) from error


@contextmanager
def _asking(hub: Hub, name: str) -> Iterator[Any]:
    """The library's client for this hub; what it raises becomes a refusal in our words."""
    api, errors = _library(hub)
    reset = _policy.set(policy(hub))
    _deadline.set(Deadline(TIMEOUT_S))
    try:
        yield api
    except OutboundError as error:
        raise _unreachable(hub, error) from error
    except errors.HFValidationError as error:
        raise Invalid(
            f"{name!r} is not a repository name.",
            "Write it as owner/name.",
            fields={"repo": "write it as owner/name"},
        ) from error
    except errors.HfHubHTTPError as error:
        response = error.response
        raise _refusal(hub, name, response.status_code, response.headers.get("X-Error-Code", "")) from error
    except (ValueError, KeyError, TypeError) as error:  # an answer that is not the interface's
        raise Unavailable(
            f"{hub.name} did not return a valid Hugging Face API response.",
            f"Check its URL, {hub.url}, in Settings > Hubs.",
        ) from error
    finally:
        _policy.reset(reset)


def _library(hub: Hub) -> tuple[Any, Any]:
    """Loaded on first use: most processes never talk to a hub."""
    # Read once, when the library is imported: no news about us, no token of another program, no file elsewhere.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    os.environ.setdefault("HF_HOME", str(paths.cache_dir() / "huggingface"))
    import httpx
    from huggingface_hub import HfApi, errors, set_client_factory

    global _transport
    if _transport is None:
        _transport = _checked_transport()
        set_client_factory(lambda: httpx.Client(transport=_transport, follow_redirects=True))
    token = secret_headers(hub).get("Authorization", "").removeprefix("Bearer ")
    return HfApi(endpoint=hub.url, token=token or False, library_name="modelyard"), errors


_transport: Any = None


def _checked_transport() -> Any:
    """httpx over `outbound`: each request and each redirect is resolved, checked and pinned, all of them in time."""
    import httpx

    class Checked(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            dropped = ("host", "connection", "accept-encoding", "content-length")
            headers = {name: value for name, value in request.headers.items() if name not in dropped}
            parts: list[bytes] = []
            with outbound.ask(str(request.url), _policy.get(), headers, deadline=_deadline.get()) as answer:
                while piece := answer.read(1 << 20):
                    parts.append(piece)
                    if sum(map(len, parts)) > MAX_ANSWER_BYTES:
                        raise OutboundError("unreachable", "The answer is too long.", "Try again later.")
                return httpx.Response(answer.status, headers=list(answer.headers.items()), content=b"".join(parts))

    return Checked()


def _formats(item: Any) -> tuple[str, ...]:
    names = [sibling.rfilename for sibling in item.siblings or ()]
    tags = set(item.tags or ())
    return tuple(
        word
        for word in ("gguf", "safetensors")
        if word in tags or any(name.lower().endswith(f".{word}") for name in names)
    )


def _unreachable(hub: Hub, error: OutboundError) -> ServiceError:
    if error.code == "not_allowed":
        return Invalid(f"{hub.name}: {error}", error.advice)
    return Unavailable(f"{hub.name} cannot be reached: {error}", OFFLINE_ADVICE)


def _refusal(hub: Hub, name: str, status: int, code: str) -> ServiceError:
    token = f"add a token in Settings > Hubs > {hub.name}"
    if code == "GatedRepo":
        advice = f"Accept its terms at {hub.url}/{name}, and {token} that belongs to the same account."
        return Conflict(f"{name} is gated: its terms have to be accepted first.", advice)
    if code == "RevisionNotFound":
        return Invalid(
            f"{name} has no such revision.",
            "Name a branch, a tag or a commit.",
            fields={"revision": "no such revision"},
        )
    if code in ("RepoNotFound", "EntryNotFound") or status == 404:
        # A hub answers alike for what is absent and what is private.
        advice = f"Check the spelling; for a private repository {token} that may read it."
        return Invalid(f"{name} was not found on {hub.name}, or it is private.", advice, fields={"repo": "not found"})
    if status in (401, 403):
        return Conflict(f"{hub.name} rejected the token ({status}).", f"It may have expired: {token}.")
    if status == 429:
        return Unavailable(
            f"{hub.name}: rate limit reached (429).", f"Wait a few minutes, or {token}: limits are higher."
        )
    return Unavailable(f"{hub.name} answered {status}.", "Try again later.")
