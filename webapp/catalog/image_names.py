"""Names of container images as Docker reads them: registry, path, tag, digest. Pure."""

import re
from dataclasses import dataclass

_DOMAIN = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])"
)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"(?:(?P<domain>{_DOMAIN}(?::[0-9]+)?)/)?(?P<path>{_PART}(?:/{_PART})*)")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Where Docker looks for a name without a registry.
USUAL_REGISTRY = "docker.io"
LONGEST = 200


@dataclass(frozen=True, slots=True)
class ImageName:
    """`repository` has its registry in front, also where it was left out."""

    repository: str
    tag: str = ""
    digest: str = ""


def parse_image(text: str) -> ImageName:
    """registry/path:tag@sha256:... with every part but the path optional. Raises ValueError."""
    rest, at, digest = text.partition("@")
    if len(text) > LONGEST or (at and not _DIGEST.fullmatch(digest)):
        raise ValueError(f"{text!r} is no name of an image.")
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise ValueError(f"{text!r} is no name of an image.")
    return ImageName(_whole(f"{head}{slash}{last}", text), tag, digest)


def _whole(repository: str, text: str) -> str:
    found = _REPOSITORY.fullmatch(repository)
    # What looks like an id is looked up as one.
    if found is None or repository == "sha256" or _ID.fullmatch(repository):
        raise ValueError(f"{text!r} is no name of an image.")
    domain, path = found["domain"], found["path"]
    if domain is not None and not ("." in domain or ":" in domain or domain == "localhost" or domain != domain.lower()):
        domain, path = None, f"{domain}/{path}"
    if domain in (None, "index.docker.io"):
        domain = USUAL_REGISTRY
    if domain == USUAL_REGISTRY and "/" not in path:
        path = f"library/{path}"
    return f"{domain.lower()}/{path}"
