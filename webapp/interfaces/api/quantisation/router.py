"""REST endpoints of quantising."""

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate

from webapp.accounts.models import User
from webapp.catalog.models import Artifact
from webapp.interfaces.api.accounts.router import team_of
from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.fields import RowId
from webapp.interfaces.api.jobs.schemas import JobOut
from webapp.interfaces.api.ownership import add_ownership
from webapp.interfaces.api.pagination import Pages
from webapp.interfaces.api.quantisation.schemas import (
    AgainIn,
    DatasetIn,
    DatasetOut,
    DatasetWithText,
    EvaluationOut,
    PickOut,
    PickQuery,
    PreviewIn,
    PreviewOut,
    PromptSetIn,
    PromptSetOut,
    QuantisationIn,
    RecipeOut,
)
from webapp.interfaces.kit.references import absent, resolve_references
from webapp.inventory.models import Host
from webapp.jobs.models import Job
from webapp.quantisation import comparison, picking, services
from webapp.quantisation.models import CalibrationSet, Measurement, PromptSet
from webapp.quantisation.provenance import provenance
from webapp.quantisation.recipes import METHODS

router = Router(tags=["quantisation"])


@router.get("/recipes", response=list[RecipeOut], summary="List quantisation methods and options")
def list_recipes(request: HttpRequest) -> list[dict[str, Any]]:
    return [
        {
            "method": method.name, "title": method.title, "summary": method.summary, "takes": sorted(method.takes),
            "makes": method.makes, "expected_loss": method.expected_loss, "options": method.options.model_json_schema(),
        }
        for method in METHODS.values()
    ]  # fmt: skip


@router.post("/quantisations/preview", response=PreviewOut, summary="Preview a quantisation job")
def preview_quantisation(request: HttpRequest, data: PreviewIn) -> dict[str, Any]:
    rows = _rows(caller(request), data, "artifact", "host")
    found = services.preview(rows["artifact"], data.recipe, rows["host"], data.measure)
    said: dict[str, Any] = {
        "is_possible": found.is_possible, "label": found.label, "file": found.file, "steps": list(found.steps),
        "refusals": [asdict(refusal) for refusal in found.refusals],
    }  # fmt: skip
    if found.needs is not None:
        needs = found.needs
        said |= {"result_bytes": needs.result_bytes, "disk_bytes": needs.disk_bytes, "memory_bytes": needs.memory_bytes}
        said["notes"] = [*needs.notes, *filter(None, [found.untimed])]
    return said


@router.post("/quantisations", response={202: JobOut}, summary="Quantise an artifact")
def quantise(request: HttpRequest, data: QuantisationIn) -> Status[Job]:
    user = caller(request)
    rows = _rows(user, data, "artifact", "host", "calibration", "judging", "prompts")
    job = services.queue(user, team_of(user, data.team), recipe=data.recipe, measure=data.measure, **rows)
    return Status(202, Job.objects.for_list().get(pk=job.pk))


@router.post("/artifacts/{artifact_id}/rebuild", response={202: JobOut}, summary="Rebuild a quantised artifact")
def rebuild_artifact(request: HttpRequest, artifact_id: RowId, data: AgainIn) -> Status[Job]:
    user = caller(request)
    artifact = get_object_or_404(Artifact.objects.for_list(user).select_related("parent"), pk=artifact_id)
    job = services.again(user, team_of(user, data.team), artifact, _rows(user, data, "host")["host"])
    return Status(202, Job.objects.for_list().get(pk=job.pk))


@router.get(
    "/artifacts/{artifact_id}/provenance", response=dict[str, Any], summary="Show the provenance of an artifact"
)
def get_provenance(request: HttpRequest, artifact_id: RowId) -> dict[str, Any]:
    artifact = get_object_or_404(Artifact.objects.for_list(caller(request)), pk=artifact_id)
    return provenance(artifact, caller(request))


@router.get("/evaluations", response=list[EvaluationOut], summary="List evaluations, newest first")
@paginate(Pages)
def list_evaluations(request: HttpRequest, artifact: RowId | None = None):  # type: ignore[no-untyped-def]
    rows = Measurement.objects.for_list(caller(request))
    return rows.filter(artifact=artifact) if artifact else rows


@router.get("/picks", response=PickOut, summary="Recommend a variant")
def pick(request: HttpRequest, asked: Query[PickQuery]) -> dict[str, Any]:
    user = caller(request)
    artifacts = list(Artifact.objects.filter(catalog_model__slug=asked.model).for_list(user))
    if not artifacts:
        raise absent(model=asked.model)
    candidates = comparison.candidates(user, artifacts)
    found = picking.pick(candidates, asked.memory_bytes, asked.context, asked.users, asked.priority)
    chosen = found.candidate
    return {
        "artifact_id": chosen.artifact_id if chosen else None, "name": chosen.name if chosen else None,
        "needed_bytes": found.needed_bytes, "why": found.why,
    }  # fmt: skip


@router.get("/datasets", response=list[DatasetOut], summary="List calibration and evaluation datasets")
@paginate(Pages)
def list_texts(request: HttpRequest):  # type: ignore[no-untyped-def]
    return CalibrationSet.objects.visible_to(caller(request)).for_list()


@router.post("/datasets", response={201: DatasetOut}, summary="Add a calibration or evaluation dataset")
def add_text(request: HttpRequest, data: DatasetIn) -> Status[CalibrationSet]:
    user = caller(request)
    row = services.add_text(user, team_of(user, data.team), data.name, data.text, data.licence)
    return Status(201, row)


@router.get("/datasets/{text_id}", response=DatasetWithText, summary="Get a dataset")
def get_text(request: HttpRequest, text_id: RowId) -> CalibrationSet:
    return get_object_or_404(CalibrationSet.objects.visible_to(caller(request)).select_related("team"), pk=text_id)


@router.delete("/datasets/{text_id}", response={204: None}, summary="Delete a dataset")
def delete_text(request: HttpRequest, text_id: RowId) -> Status[None]:
    services.delete_text(caller(request), get_text(request, text_id))
    return Status(204, None)


add_ownership(router, "/datasets", lambda request: CalibrationSet.objects.all(), "a text")
add_ownership(router, "/golden-prompts", lambda request: PromptSet.objects.all(), "golden prompts")


@router.get("/golden-prompts", response=list[PromptSetOut], summary="List golden prompts")
@paginate(Pages)
def list_prompts(request: HttpRequest):  # type: ignore[no-untyped-def]
    return PromptSet.objects.visible_to(caller(request)).for_list()


@router.post("/golden-prompts", response={201: PromptSetOut}, summary="Add golden prompts")
def add_prompts(request: HttpRequest, data: PromptSetIn) -> Status[PromptSet]:
    user = caller(request)
    prompts = [one.dict() for one in data.prompts]
    return Status(201, services.add_prompts(user, team_of(user, data.team), data.name, prompts))


@router.get("/golden-prompts/{prompts_id}", response=PromptSetOut, summary="Get golden prompts")
def get_prompts(request: HttpRequest, prompts_id: RowId) -> PromptSet:
    return get_object_or_404(PromptSet.objects.visible_to(caller(request)).select_related("team"), pk=prompts_id)


@router.delete("/golden-prompts/{prompts_id}", response={204: None}, summary="Delete golden prompts")
def delete_prompts(request: HttpRequest, prompts_id: RowId) -> Status[None]:
    services.delete_prompts(caller(request), get_prompts(request, prompts_id))
    return Status(204, None)


def _rows(user: User, data: Schema, *names: str) -> dict[str, Any]:
    """The rows that these fields of the body name."""
    texts = CalibrationSet.objects.visible_to(user)
    rows: dict[str, Any] = {
        "artifact": Artifact.objects.visible_to(user).select_related("catalog_model"),
        "host": Host.objects.visible_to(user),
        "calibration": texts, "judging": texts, "prompts": PromptSet.objects.visible_to(user),
    }  # fmt: skip
    return resolve_references(**{name: (rows[name], getattr(data, name)) for name in names})
