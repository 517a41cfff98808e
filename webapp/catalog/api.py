"""REST doors of the catalogue."""

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router
from ninja.pagination import paginate

from webapp.catalog.models import Artifact
from webapp.catalog.schemas import ArtifactOut
from webapp.pagination import Pages

router = Router(tags=["models"])


@router.get("/artifacts", response=list[ArtifactOut], summary="All artifacts")
@paginate(Pages)
def list_artifacts(request: HttpRequest):  # type: ignore[no-untyped-def]
    return Artifact.objects.for_list()


@router.get("/artifacts/{artifact_id}", response=ArtifactOut, summary="One artifact")
def get_artifact(request: HttpRequest, artifact_id: int) -> Artifact:
    return get_object_or_404(Artifact.objects.for_list(), pk=artifact_id)
