"""Which container images may run: the engines' own, what is built here, and what administrators have allowed.

Everything that would start a container from a name that people chose asks here: when it is asked for (forms, API,
apply, dry runs, schedules), and once more by the worker right before the launch.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from django.db import IntegrityError, transaction

from webapp import engines
from webapp.accounts.models import User
from webapp.accounts.services import audit
from webapp.catalog.image_names import ImageName, parse_image
from webapp.catalog.models import AllowedImage
from webapp.engines.base import Vendor
from webapp.foundation.errors import Conflict, Invalid, NotAllowed
from webapp.foundation.events import services as events

# Images of this name are built here and are in no registry: under the same name a registry would give us a stranger's.
BUILT_HERE = "modelyard/"
WAY_OUT = "Leave the image empty for the engine default, or have an administrator allow this one in Settings > Images."
_programs: set[str] = set()


def register(images: Iterable[str]) -> None:
    """What an app runs besides engines; called when it starts."""
    _programs.update(images)


def own() -> list[str]:
    """Images that need nobody's permission: of engines, and of what is built here."""
    of_engines = {image for engine in engines.all() for vendor in get_args(Vendor) for image in engine.images(vendor)}
    return sorted(of_engines | _programs)


def is_built_here(image: str) -> bool:
    """Whether no registry has it."""
    return image.startswith(BUILT_HERE)


@dataclass(frozen=True)
class AllowList:
    """The list as it is now, for many questions: one query."""

    # Digests by repository; an empty one stands for all of them.
    repositories: dict[str, set[str]]
    exact: frozenset[str]

    @classmethod
    def now(cls) -> "AllowList":
        found: dict[str, set[str]] = {}
        for repository, digest in AllowedImage.objects.values_list("repository", "digest"):
            found.setdefault(repository, set()).add(digest)
        ours = own()
        for image in ours:
            if not is_built_here(image):
                found.setdefault(parse_image(image).repository, set()).add("")
        return cls(found, frozenset(image for image in ours if is_built_here(image)))

    def refusal(self, image: str) -> str:
        """Why this image may not run; empty when it may."""
        if image in self.exact:
            return ""
        try:
            name = parse_image(image)
        except ValueError as error:
            return str(error)
        digests = self.repositories.get(name.repository, set())
        if "" in digests or (name.digest and name.digest in digests):
            return ""
        if digests:
            return f"Of {name.repository} only single images are allowed: write one as {_pinned(name, digests)}."
        return f"Images of {name.repository} are not allowed here."


def check(image: str) -> None:
    """Raise Invalid unless this image may run; an empty one is the engine default."""
    why = AllowList.now().refusal(image) if image else ""
    if why:
        raise Invalid(why, WAY_OUT, fields={"image": why})


def allow(user: User, image: str) -> AllowedImage:
    """Let every image of a repository run, or with name@sha256:... that one. Raises Invalid, Conflict, NotAllowed."""
    _require_installation_admin(user)
    name = _read(image.strip())
    try:
        with transaction.atomic():
            row = AllowedImage.objects.create(repository=name.repository, digest=name.digest, added_by=user)
            audit(user, None, "image.allow", str(row), _facts_of(row))
            events.publish("catalog")
    except IntegrityError as error:
        message = "It is on the list already."
        raise Conflict(message, fields={"image": message}) from error
    return row


def forbid(user: User, row: AllowedImage) -> None:
    """Take it off the list. What runs goes on running; its next start is refused."""
    _require_installation_admin(user)
    with transaction.atomic():
        audit(user, None, "image.forbid", str(row), _facts_of(row))
        row.delete()
        events.publish("catalog")


def offer(image: str) -> str:
    """What would have to be allowed for this image to run: itself when it names its digest, else its repository."""
    try:
        name = parse_image(image)
    except ValueError:
        return ""
    return f"{name.repository}@{name.digest}" if name.digest else name.repository


def _facts_of(row: AllowedImage) -> dict[str, str]:
    """For the audit log, which hides what is called a digest."""
    return {"repository": row.repository, "only": row.digest}


def _read(image: str) -> ImageName:
    try:
        name = parse_image(image)
    except ValueError as error:
        raise Invalid(str(error), "Write it like ghcr.io/me/engine.", fields={"image": str(error)}) from error
    if name.tag and not name.digest:
        message = "A tag can be moved to another image at any time, so it is no limit."
        advice = "Leave it out to allow the whole repository, or name one image as name@sha256:…"
        raise Invalid(message, advice, fields={"image": f"{message} {advice}"})
    return name


def _pinned(name: ImageName, digests: set[str]) -> str:
    return f"{name.repository}@{sorted(digests)[0]}"


def _require_installation_admin(user: User) -> None:
    if not user.is_superuser:
        raise NotAllowed("Only administrators can say which images may run.", "Ask an administrator.")
