"""Every change of the catalogue: what is known, where it lies, what may be asked."""

import contextlib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import Case, ProtectedError, Q, When
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.text import slugify

from webapp.accounts.models import Team, User
from webapp.accounts.services import audit, difference
from webapp.catalog import programs
from webapp.catalog.inspecting import Inspected
from webapp.catalog.models import (
    ARTIFACT_URL,
    COPY_MOVES,
    HUB_TOKEN,
    Artifact,
    ArtifactCopy,
    CatalogModel,
    CodeApproval,
    CopyState,
    Hub,
)
from webapp.control.moves import States
from webapp.foundation.errors import Conflict, Invalid, NotAllowed
from webapp.foundation.events import services as events
from webapp.foundation.iri import to_uri
from webapp.foundation.text import one_line
from webapp.inventory.models import Host

USE_NOTED_EVERY = timedelta(minutes=1)
# Addresses of pages beside those of models.
RESERVED = frozenset({"import", "address", "hubs", "disk", "known", "artifacts", "copies", "repo"})


class _Copies(States[ArtifactCopy]):
    model = ArtifactCopy
    moves = COPY_MOVES

    def moved(self, row: ArtifactCopy, old: CopyState, new: CopyState, reason: str) -> None:
        events.publish("catalog")


COPIES = _Copies()


def add_artifact(team: Team, inspected: Inspected, model_name: str = "") -> Artifact:
    """The row for these files that the team may use when there is one, else a new one, which is the team's.

    What another team has and does not share is not looked at: it may have come with a token that this team lacks.
    """
    name = (one_line(model_name) or one_line(inspected.model_name))[:120]
    slug, facts = _slug(name), inspected.facts
    with transaction.atomic():
        # Two requests of one team wait for each other here; of two teams neither knows of the other.
        Team.objects.select_for_update().get(pk=team.pk)
        model = _model_of(team, slug)
        artifact = _same(team, slug, inspected)
        created = artifact is None
        if model is None:
            model = CatalogModel.objects.create(
                slug=slug,
                name=name,
                architecture=(facts.get("architecture") or "")[:60],
                parameters=facts.get("parameters") or None,
                context_length=min(facts.get("context_length") or 0, 2**31 - 1) or None,
                licence=(inspected.licence or facts.get("licence") or "")[:80],
            )
        if artifact is None:
            artifact = Artifact.objects.create(
                team=team,
                catalog_model=model,
                format=inspected.format,
                quantisation=inspected.quantisation,
                main_file=inspected.main_file,
                origin=inspected.origin,
                files=[{**file, "size_bytes": file["size"]} for file in inspected.files],
                facts=facts,
                size_bytes=inspected.size_bytes,
                source=inspected.source,
            )
        if not created and artifact.size_bytes != inspected.size_bytes:
            raise Invalid(
                f"The catalogue has another {inspected.main_file} of {model.name} with {artifact.size_bytes} bytes.",
                "Import it under another model name.",
                fields={"model_name": "taken by a different file"},
            )
        come_back(artifact, team)
        events.publish("catalog")
    return artifact


def _model_of(team: Team, slug: str) -> CatalogModel | None:
    """The model of this name that the team knows; its own before others'."""
    known = Artifact.objects.open_to([team]).filter(catalog_model__slug=slug)
    found = known.select_related("catalog_model").order_by(_own_first(team), "pk").first()
    return found.catalog_model if found else None


def _same(team: Team, slug: str, inspected: Inspected) -> Artifact | None:
    """These very files among those that the team may use. Files behind a secret address are their owner's alone."""
    rows = Artifact.objects.open_to([team]).filter(
        catalog_model__slug=slug,
        format=inspected.format,
        quantisation=inspected.quantisation,
        main_file=inspected.main_file,
        origin=inspected.origin,
    )
    is_own = Q(team=team)
    return rows.filter(is_own | ~Q(source__has_key="sealed_url")).order_by(_own_first(team), "pk").first()


def _own_first(team: Team) -> Case:
    return Case(When(team=team, then=0), default=1)


def _slug(name: str) -> str:
    slug = slugify(name)[:110]
    if not slug:
        raise Invalid(
            "The model needs a name with letters or digits.", fields={"model_name": "needs letters or digits"}
        )
    return f"{slug}-model" if slug in RESERVED else slug


def reserve_artifact_id(model: CatalogModel) -> int:
    """An id that no artifact has or will get by itself, so that a folder can have its name before its row is there.

    Both databases count on behind a row that was deleted, and nobody sees the row in between.
    """
    with transaction.atomic():
        row = Artifact.objects.create(catalog_model=model, format="reserved", main_file="-", origin="reserved")
        number = row.pk
        row.delete()
    return number


def add_made(artifact: Artifact, host: Host) -> None:
    """An artifact that was made on this host, complete and with its checksums; its id was reserved."""
    with transaction.atomic():
        artifact.save(force_insert=True)
        ArtifactCopy.objects.create(artifact=artifact, host=host, state=CopyState.PRESENT, verified_at=timezone.now())
        events.publish("catalog")


def keep_whole_url(artifact: Artifact, url: str) -> None:
    """Remember an address with its query, which may be a secret, sealed."""
    if url == artifact.source.get("url"):
        return
    artifact.source = {**artifact.source, "sealed_url": ARTIFACT_URL.encrypt(artifact, url)}
    Artifact.objects.filter(pk=artifact.pk).update(source=artifact.source)


def whole_url(artifact: Artifact) -> str:
    """The address that the artifact is fetched from. Raises DecryptionError."""
    return ARTIFACT_URL.decrypt(artifact) or str(artifact.source["url"])


def begin_copy(artifact: Artifact, host: Host) -> ArtifactCopy:
    """Write down that the files are on their way to the host. A copy that is complete stays as it is."""
    if artifact.is_leaving:
        raise _leaving(artifact)
    copy, created = ArtifactCopy.objects.get_or_create(artifact=artifact, host=host)
    if copy.state == CopyState.DELETING:
        raise Conflict(f"{artifact} is being deleted on {host.name}.", "Wait until its files are gone.")
    if not created and copy.state == CopyState.FAILED:
        COPIES.move(copy, CopyState.FAILED, CopyState.FETCHING)
        copy.refresh_from_db()
    events.publish("catalog")
    return copy


def finish_copy(artifact: Artifact, host: Host, files: list[dict[str, Any]]) -> None:
    """The files lie on the host, complete and with these checksums."""
    with transaction.atomic():
        fresh = Artifact.objects.select_for_update().get(pk=artifact.pk)
        known = {file["name"]: file for file in fresh.files}
        kept = [
            {**known.get(f["name"], {}), "name": f["name"], "size_bytes": f["size"], "sha256": f["sha256"]}
            for f in files
        ]
        Artifact.objects.filter(pk=artifact.pk).update(files=kept, size_bytes=sum(f["size"] for f in files))
        now = timezone.now()
        copy, created = ArtifactCopy.objects.get_or_create(
            artifact=artifact, host=host, defaults={"state": CopyState.PRESENT, "verified_at": now}
        )
        if not created and copy.state == CopyState.PRESENT:
            ArtifactCopy.objects.filter(pk=copy.pk).update(verified_at=now)
        elif not created:
            COPIES.move(copy, CopyState(copy.state), CopyState.PRESENT, verified_at=now)
        events.publish("catalog")


def fail_copy(artifact: Artifact, host: Host) -> None:
    """The files did not arrive."""
    _fail_from(CopyState.FETCHING, artifact, host)


def begin_deletion(copy: ArtifactCopy) -> None:
    """From here on nothing is placed on this copy. Raises Conflict when it is being fetched or deleted."""
    ended = (CopyState.PRESENT, CopyState.FAILED)
    if not any(COPIES.move(copy, state, CopyState.DELETING) for state in ended):
        raise Conflict("The copy is being fetched or deleted.", "Wait for its job, or cancel it.")


def keep_copy(artifact: Artifact, host: Host) -> None:
    """The deletion did not happen; the files may be there in part, so nothing is placed on them."""
    _fail_from(CopyState.DELETING, artifact, host)
    Artifact.objects.filter(pk=artifact.pk).update(is_leaving=False)
    events.publish("catalog")


def _fail_from(state: CopyState, artifact: Artifact, host: Host) -> None:
    for copy in ArtifactCopy.objects.filter(artifact=artifact, host=host, state=state):
        COPIES.move(copy, state, CopyState.FAILED)
    events.publish("catalog")


def forget_copy(artifact: Artifact, host: Host) -> None:
    """The files are gone from the host; an artifact that was to go follows its last copy."""
    with transaction.atomic():
        ArtifactCopy.objects.filter(artifact=artifact, host=host).delete()
        forget_left(artifact.pk)
        events.publish("catalog")


def forget_left(artifact_id: int) -> None:
    """Remove an artifact that was to go and whose files are gone, unless something still speaks of it.

    That is a stopped deployment of a team that may not use it any more; who lets go of it calls this again.
    """
    row = Artifact.objects.filter(pk=artifact_id, is_leaving=True, copies=None).first()
    if row is not None:
        with contextlib.suppress(Conflict):
            forget_artifact(row)


def come_back(artifact: Artifact, team: Team) -> None:
    """Its own team brings files again that were to go. Raises Conflict for others, and while they are going.

    In a transaction: until its end nobody begins to delete them.
    """
    row = Artifact.objects.select_for_update(of=("self",)).filter(pk=artifact.pk).first()
    if row is None:
        raise _leaving(artifact)
    if row.is_leaving:
        if row.copies.exists() or row.team_id not in (None, team.pk):
            raise _leaving(artifact)
        Artifact.objects.filter(pk=row.pk).update(is_leaving=False)
    artifact.is_leaving = False


def _leaving(artifact: Artifact) -> Conflict:
    return Conflict(f"{artifact} is being deleted.", "Wait until its files are gone, then fetch it again.")


def forget_artifact(artifact: Artifact) -> None:
    """Remove an artifact without copies, and its model when that has no other. Raises Conflict when it is used."""
    model = artifact.catalog_model
    try:
        with transaction.atomic():
            artifact.delete()
    except ProtectedError as error:
        # Of whatever team they are: their names are not for everybody who may read this.
        number = len(error.protected_objects)
        what = f"{artifact} is used by {number} deployment{'' if number == 1 else 's'}."
        raise Conflict(what, "Delete what uses it first.") from error
    if not model.artifacts.exists():
        model.delete()
    events.publish("catalog")


def note_use(artifact_ids: Iterable[int]) -> None:
    """These files answered a request, or are about to or were until now. Written once a minute at most."""
    stale = Q(last_used_at=None) | Q(last_used_at__lt=Now() - USE_NOTED_EVERY)
    Artifact.objects.filter(stale, pk__in=sorted(set(artifact_ids))).update(last_used_at=Now())


def save_hub(
    user: User,
    hub: Hub | None,
    *,
    name: str,
    endpoint: str = "",
    token: str | None = None,
    allows_private: bool = False,
    is_enabled: bool = True,
    teams: list[Team] | None = None,
) -> Hub:
    """Add a hub, or change one. `token`: None keeps what is there, an empty text removes it."""
    _require_installation_admin(user)
    endpoint = _checked_endpoint(endpoint.strip().rstrip("/"), allows_private)
    if Hub.objects.filter(name=name.strip()).exclude(pk=hub.pk if hub else 0).exists():
        raise Conflict("There is a hub of this name.", fields={"name": "taken"})
    with transaction.atomic():
        before = _facts_of(Hub.objects.get(pk=hub.pk)) if hub else {}
        row = hub or Hub()
        row.name, row.endpoint, row.allows_private, row.is_enabled = name.strip(), endpoint, allows_private, is_enabled
        if hub is not None and token is None and Hub.objects.get(pk=hub.pk).url != row.url:
            row.sealed_token = ""  # a token belongs to the place it was given for
        row.save()
        if token is not None:
            row.sealed_token = HUB_TOKEN.encrypt(row, token)
            row.save(update_fields=["sealed_token"])
        row.teams.set(teams or [])
        changes = difference(before, _facts_of(row)) if hub else _facts_of(row)
        if token:
            changes["token_replaced"] = True
        audit(user, None, "hub.change" if hub else "hub.add", row.name, changes)
        events.publish("catalog")
    return row


def _facts_of(hub: Hub) -> dict[str, Any]:
    """A hub without its token, for the audit log."""
    return {
        "name": hub.name, "url": hub.url, "token_kept": bool(hub.sealed_token), "allows_private": hub.allows_private,
        "is_enabled": hub.is_enabled, "teams": sorted(hub.teams.values_list("slug", flat=True)),
    }  # fmt: skip


def delete_hub(user: User, hub: Hub) -> None:
    """Delete a hub and its token; what was fetched from it stays."""
    _require_installation_admin(user)
    with transaction.atomic():
        audit(user, None, "hub.delete", hub.name, {"url": hub.url})
        hub.delete()
        events.publish("catalog")


def why_no_launch(artifact: Artifact) -> str:
    """Why no engine may be given the artifact's files, by their names: one could run; "" when it may."""
    is_approved = any(str(file["name"]).endswith(".py") for file in artifact.files) and lets_code(artifact.source)
    problems = (programs.why_not(str(file["name"]), lets_code=is_approved) for file in artifact.files)
    return next(filter(None, problems), "")


def lets_code(source: Mapping[str, Any]) -> bool:
    """Whether an admin has approved the Python files of the commit that an artifact comes from."""
    if source.get("kind") != "hub":
        return False
    return CodeApproval.objects.filter(hub=source["hub"], repo=source["repo"], commit=source["commit"]).exists()


def approve_code(user: User, hub: Hub, repo: str, commit: str) -> None:
    """Let the Python files of exactly this commit be fetched and run."""
    _require_installation_admin(user)
    with transaction.atomic():
        _row, created = CodeApproval.objects.get_or_create(
            hub=hub, repo=repo, commit=commit, defaults={"approved_by": user}
        )
        if created:
            audit(user, None, "hub.approve_code", repo, {"hub": hub.name, "commit": commit})


def _require_installation_admin(user: User) -> None:
    if not user.is_superuser:
        raise NotAllowed("Only administrators can change hubs.", "Ask an administrator.")


def _checked_endpoint(endpoint: str, allows_private: bool) -> str:
    if not endpoint:
        return ""
    try:
        parts = urlsplit(to_uri(endpoint))
        is_sound = parts.scheme in ("https", "http") and bool(parts.hostname) and not parts.query and parts.port != 0
    except ValueError:
        is_sound = False
    if not is_sound or parts.username or parts.password:
        raise Invalid(
            f"{endpoint!r} is no address of a hub.",
            "Write it like https://hub.example.org, without a user or password.",
            fields={"endpoint": "write it like https://hub.example.org"},
        )
    if parts.scheme == "http" and not allows_private:
        raise Invalid(
            "Over http the token could be read on the way.",
            "Use https, or allow private networks for this hub when it stands in yours.",
            fields={"endpoint": "use https"},
        )
    return endpoint
