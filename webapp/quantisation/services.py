"""Every change of quantising: ask for a quantised artifact, make one again, keep texts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import RestrictedError
from pydantic import ValidationError

from webapp.accounts.models import Role, Team, User
from webapp.accounts.ownership import check_usable, require_owner
from webapp.accounts.roles import require_installation_admin
from webapp.accounts.services import audit, require
from webapp.catalog.models import Artifact, CopyState
from webapp.foundation.errors import Conflict, Invalid
from webapp.inventory.models import Host
from webapp.jobs import services as jobs
from webapp.jobs.models import Job, JobKind
from webapp.planner.facts import ModelFacts
from webapp.quantisation import golden, plan, refusing, shipping, sizing
from webapp.quantisation.models import CalibrationSet, PromptSet
from webapp.quantisation.recipes import Measure, Recipe
from webapp.quantisation.refusing import Refusal, Room
from webapp.quantisation.sizing import Needs

MOST_TEXT_BYTES = 4 * 1024**2
LEAST_TEXT_BYTES = 2000


@dataclass(frozen=True)
class Preview:
    """What would become of a recipe. `needs` and `steps` are there only where they can be told."""

    refusals: tuple[Refusal, ...]
    needs: Needs | None = None
    steps: tuple[str, ...] = ()
    label: str = ""
    file: str = ""
    # Why the result will be made and judged there and not timed; empty when it will, or nobody asked.
    untimed: str = ""

    @property
    def is_possible(self) -> bool:
        return not self.refusals


def preview(
    artifact: Artifact, recipe: Recipe, host: Host | None, measure: Measure | None = None, *, has_prompts: bool = False
) -> Preview:
    """Sizes, and every reason why it cannot be done. Raises Invalid for options that do not exist."""
    _check_options(recipe)
    try:
        facts = ModelFacts.from_json(artifact.facts)
    except (TypeError, ValueError):
        return Preview((Refusal(f"Nobody knows what {artifact} is made of.", "Fetch it again, then retry."),))
    # What a header does not say, the catalogue may know by the file's name.
    facts_named = facts if facts.quantisation else replace(facts, quantisation=artifact.quantisation)
    untimed = _untimed(recipe, host, measure)
    timed = measure.model_copy(update={"speed": False}) if measure and untimed else measure
    needs = sizing.needs(facts, artifact.format, recipe, timed)
    found = refusing.refusals(facts_named, artifact.format, recipe) + refusing.too_little_judged(measure)
    if host is not None:
        found += refusing.lack_of_instructions(recipe, host.name, host.processor.flags)
        found += refusing.lack_of_image(recipe, host.name, host.facts)
        found += _of_host(artifact, host, needs)
    return Preview(
        tuple(found), needs, tuple(plan.steps(recipe, artifact.format, measure, has_prompts=has_prompts)),
        recipe.label, result_file(artifact, recipe), untimed,
    )  # fmt: skip


def _untimed(recipe: Recipe, host: Host | None, measure: Measure | None) -> str:
    """The step keeps its place in the job, which tells the same there."""
    if host is None or measure is None or not measure.speed:
        return ""
    why = plan.why_untimed(recipe, host.processor.flags)
    return f"It is made and evaluated on {host.name}, but not timed: {why}" if why else ""


def queue(
    user: User | None,
    team: Team,
    artifact: Artifact,
    recipe: Recipe,
    host: Host,
    calibration: CalibrationSet | None = None,
    measure: Measure | None = None,
    judging: CalibrationSet | None = None,
    prompts: PromptSet | None = None,
) -> Job:
    """Have the artifact made and measured on the host, as a job. Raises Invalid with the refusals, Conflict."""
    require(user, team, Role.OPERATOR)
    used = {"artifact": artifact, "calibration": calibration, "judging": judging, "prompts": prompts}
    for field, item in used.items():
        if item is not None:
            check_usable(item, team, field)
    looked = preview(artifact, recipe, host, measure, has_prompts=prompts is not None)
    if looked.refusals:
        first = looked.refusals[0]
        fields = {refusal.field: refusal.what for refusal in looked.refusals if refusal.field}
        raise Invalid(" ".join(refusal.what for refusal in looked.refusals), first.advice, fields=fields)
    assert looked.needs is not None
    params = {
        "recipe": recipe.full(),
        "parent": artifact.pk,
        "source": _source(artifact),
        "name": artifact.catalog_model.name,
        "file": looked.file,
        "calibration": (calibration or shipped(shipping.CALIBRATION)).reference if recipe.wants_text else None,
        # Without measuring a piece of the judging text still proves that the result loads.
        "judging": (judging or shipped(shipping.JUDGING)).reference,
        "measure": measure.model_dump() if measure else None,
        "prompts": prompts.reference if prompts else None,
        "needs": {"disk_bytes": looked.needs.disk_bytes, "memory_bytes": looked.needs.memory_bytes},
        "steps": list(looked.steps),
    }
    with transaction.atomic():
        job = jobs.queue_job(user, team, JobKind.QUANTISE, artifact, host, params)
        audit(user, team, "artifact.quantise", str(artifact), {"recipe": recipe.label, "host": host.name})
    return job


def again(user: User | None, team: Team, artifact: Artifact, host: Host) -> Job:
    """Make an artifact once more from its parent, by the same recipe and texts. Raises Conflict, Invalid."""
    check_usable(artifact, team)
    kept = artifact.recipe
    if artifact.parent is None or not kept:
        raise Conflict(f"{artifact} was not made here, or its parent is gone.", "Quantise another file of this model.")
    calibration, judging = (_text_again(team, kept.get(name)) for name in ("calibration", "judging"))
    measure = Measure.model_validate(kept["measure"]) if kept.get("measure") else None
    recipe = Recipe.model_validate(kept["recipe"])
    prompts = _prompts_again(team, kept.get("prompts"))
    return queue(user, team, artifact.parent, recipe, host, calibration, measure, judging, prompts)


def add_text(user: User, team: Team | None, name: str, text: str, licence: str = "") -> CalibrationSet:
    """Keep a text for a team, or for everybody (administrators). Raises Invalid, Conflict, NotAllowed."""
    _require(user, team)
    size = _size(text)
    if not name.strip():
        raise Invalid("The dataset needs a name.", fields={"name": "needed"})
    if not LEAST_TEXT_BYTES <= size <= MOST_TEXT_BYTES:
        raise Invalid(
            f"The text has {size:,} bytes; {LEAST_TEXT_BYTES:,} to {MOST_TEXT_BYTES:,} can be used.",
            "A few hundred paragraphs like those that the model will see are best.",
            fields={"text": "too short" if size < LEAST_TEXT_BYTES else "too long"},
        )
    try:
        with transaction.atomic():
            row = CalibrationSet.objects.create(
                name=name.strip()[:80], team=team, licence=licence.strip()[:80], text=text, size_bytes=size,
                sha256=shipping.digest(text), created_by=user,
            )  # fmt: skip
            audit(user, team, "calibration.add", row.name, {"sha256": row.sha256})
    except IntegrityError as error:
        raise Conflict("A dataset with this name already exists.", fields={"name": "taken"}) from error
    return row


def delete_text(user: User, text: CalibrationSet) -> None:
    """Delete a text; artifacts and measurements keep its name and checksum."""
    require_owner(user, text)
    with transaction.atomic():
        audit(user, text.team, "calibration.delete", text.name, {"sha256": text.sha256})
        text.delete()


def add_prompts(user: User, team: Team, name: str, prompts: Sequence[Mapping[str, str]]) -> PromptSet:
    """Keep golden prompts for a team. Raises Invalid for what cannot be asked or judged, Conflict for a name twice."""
    require(user, team, Role.OPERATOR)
    if not name.strip():
        raise Invalid("The prompts need a name.", fields={"name": "needed"})
    try:
        kept = golden.checked(prompts)
    except golden.BadPrompts as error:
        raise Invalid(str(error), fields={"prompts": str(error)}) from error
    digest = shipping.digest(json.dumps(kept, sort_keys=True))
    try:
        with transaction.atomic():
            row = PromptSet.objects.create(
                name=name.strip()[:80], team=team, prompts=kept, sha256=digest, created_by=user
            )
            audit(user, team, "prompts.add", row.name, {"sha256": digest})
    except IntegrityError as error:
        raise Conflict("The team already has golden prompts with this name.", fields={"name": "taken"}) from error
    return row


def delete_prompts(user: User, row: PromptSet) -> None:
    """Delete golden prompts; measurements keep their name. Raises Conflict while a schedule asks them."""
    require(user, row.team, Role.OPERATOR)
    with transaction.atomic():
        audit(user, row.team, "prompts.delete", row.name, {"sha256": row.sha256})
        try:
            row.delete()
        except RestrictedError as error:
            # Schedules of teams that the prompts were granted to are nobody else's business.
            asking: list[Any] = list(error.restricted_objects)
            own = sorted({str(one) for one in asking if one.team_id == row.team_id})
            others = sum(one.team_id != row.team_id for one in asking)
            told = own + ([f"{others} schedule{'' if others == 1 else 's'} of other teams"] if others else [])
            raise Conflict(
                f"{row.name} are used by: {', '.join(told)}.", "Choose other prompts there first."
            ) from error


def shipped(name: str) -> CalibrationSet:
    """One of the two texts that ship, put into the database when it is not there or has changed."""
    text = shipping.SHIPPED[name].read_text(encoding="utf-8")
    now = {"text": text, "sha256": shipping.digest(text), "size_bytes": len(text.encode()), "licence": shipping.LICENCE}
    found, _created = CalibrationSet.objects.get_or_create(name=name, team=None, defaults=now)
    if found.sha256 != now["sha256"]:
        found, _created = CalibrationSet.objects.update_or_create(name=name, team=None, defaults=now)
    return found


def result_file(artifact: Artifact, recipe: Recipe) -> str:
    """The name of the file that is made; empty for a folder."""
    if recipe.what.makes != "gguf":
        return ""
    return f"{artifact.catalog_model.slug}-{recipe.label}.gguf"


def _require(user: User, team: Team | None) -> None:
    """A team's texts are its operators' to change; everybody's are administrators'."""
    if team is None:
        require_installation_admin(user)
    else:
        require(user, team, Role.OPERATOR)


def _size(text: str) -> int:
    """Bytes of a text that can be kept. Raises Invalid."""
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raw = b"\0"
    if b"\0" in raw:
        raise Invalid("The text holds what is no character.", "Save it as UTF-8.", fields={"text": "is not UTF-8 text"})
    return len(raw)


def _check_options(recipe: Recipe) -> None:
    try:
        _chosen = recipe.chosen
    except ValidationError as error:
        fields = {".".join(map(str, one["loc"])) or "options": one["msg"] for one in error.errors()}
        raise Invalid("; ".join(f"{name}: {said}" for name, said in fields.items()), fields=fields) from error


def _of_host(artifact: Artifact, host: Host, needs: Needs) -> list[Refusal]:
    if not artifact.copies.filter(host=host, state=CopyState.PRESENT).exists():
        return [Refusal(f"{artifact} is not on {host.name}.", "Fetch it there first, or choose another host.", "host")]
    disk = host.disk_free_bytes if host.disk_total_bytes else None
    usable = host.usable_bytes if host.memory_bytes else None
    return refusing.lack_of_room(needs, Room(host.name, disk, usable))


def _source(artifact: Artifact) -> dict[str, Any]:
    folder = f"{plan.MODELS}/{artifact.pk}"
    files = [{"name": file["name"], "size_bytes": file["size_bytes"]} for file in artifact.files]
    return {"format": artifact.format, "folder": folder, "main": f"{folder}/{artifact.main_file}", "files": files}


def _prompts_again(team: Team, kept: dict[str, Any] | None) -> PromptSet | None:
    if kept is None:
        return None
    found = PromptSet.objects.open_to([team]).filter(sha256=kept["sha256"]).first()
    if found is None:
        raise Conflict(f"The golden prompts {kept['name']} are gone.", "Quantise again, with others or without.")
    return found


def _text_again(team: Team, kept: dict[str, Any] | None) -> CalibrationSet | None:
    if kept is None:
        return None
    found = CalibrationSet.objects.open_to([team]).filter(sha256=kept["sha256"]).first()
    if found is None:
        raise Conflict(f"The text {kept['name']} is gone.", "Choose another text and quantise again.")
    return found
