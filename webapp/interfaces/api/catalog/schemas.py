"""The API's words for models, artifacts and hubs. Sizes are bytes."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from ninja import Field, Schema

from webapp.catalog import naming
from webapp.catalog.hubs import Repo
from webapp.catalog.known import Known
from webapp.catalog.variants import Offer, Variant
from webapp.deployments.disk import HostDisk
from webapp.deployments.fit import Place
from webapp.planner.placement import When


class ModelOut(Schema):
    id: int
    name: str
    slug: str
    architecture: str
    parameters: int | None
    context_length: int | None
    licence: str
    artifacts: int = Field(alias="file_count")
    size_bytes: int | None = Field(None, description="all artifacts together")
    last_used_at: datetime | None = Field(None, description="when one of its artifacts was last used")


class CopyOut(Schema):
    host: str = Field(alias="host.name")
    host_id: int
    state: str
    verified_at: datetime | None


class ArtifactOut(Schema):
    id: int
    team: str | None = Field(description="the slug of the team that owns it; null: no team")
    is_shared: bool = Field(description="every team may use it")
    model: str = Field(alias="catalog_model.name")
    format: str
    quantisation: str
    main_file: str
    size_bytes: int
    files: list[dict[str, Any]] = Field(description="name, size_bytes and sha256 of every file")
    facts: dict[str, Any] = Field(description="what the file's header says")
    source: dict[str, Any] = Field(
        description="where it came from: a hub's repository and commit, an address or a path"
    )
    came_from: str = Field(description="the same in a few words, for lists")
    is_leaving: bool = Field(description="somebody asked for it to be deleted")
    last_used_at: datetime | None = Field(
        description="its last request, or when a replica with it last became ready or ceased to be"
    )
    copies: list[CopyOut]
    created_at: datetime

    @staticmethod
    def resolve_team(artifact):  # type: ignore[no-untyped-def]
        return artifact.team.slug if artifact.team else None

    @staticmethod
    def resolve_came_from(artifact):  # type: ignore[no-untyped-def]
        return naming.source(artifact)

    @staticmethod
    def resolve_copies(artifact):  # type: ignore[no-untyped-def]
        return list(artifact.copies.all())

    @staticmethod
    def resolve_source(artifact):  # type: ignore[no-untyped-def]
        return {name: value for name, value in artifact.source.items() if name != "sealed_url"}


class PopularModelOut(Schema):
    name: str
    family: str
    parameters: int
    context_length: int
    licence: str
    repos: list[str]
    note: str
    memory_bytes: dict[str, int] = Field(description="by precision; a rough estimate from the number of parameters")

    @classmethod
    def of(cls, model: Known) -> "PopularModelOut":
        return cls(
            name=model.name,
            family=model.family,
            parameters=model.parameters,
            context_length=model.context_length,
            licence=model.licence,
            repos=list(model.repos),
            note=model.note,
            memory_bytes=dict(model.needs),
        )


class HeldOut(Schema):
    copy_id: int
    artifact_id: int
    artifact: str
    size_bytes: int
    state: str
    deployments: int = Field(description="how many use the artifact")
    last_used_at: datetime | None


class HostDiskOut(Schema):
    host_id: int
    host: str
    disk_total_bytes: int
    disk_free_bytes: int
    models_bytes: int = Field(description="all models there, those of other teams too")
    unused_bytes: int
    held: list[HeldOut] = Field(description="the copies that I may see")
    others_copies: int = Field(description="how many copies belong to other teams alone")
    others_bytes: int = Field(description="what those take")

    @classmethod
    def of(cls, item: HostDisk) -> "HostDiskOut":
        return cls(
            host_id=item.host.pk,
            host=item.host.name,
            disk_total_bytes=item.host.disk_total_bytes,
            disk_free_bytes=item.host.disk_free_bytes,
            models_bytes=item.models_bytes,
            unused_bytes=item.unused_bytes,
            others_copies=item.others_copies,
            others_bytes=item.others_bytes,
            held=[
                HeldOut(
                    copy_id=held.copy.pk,
                    artifact_id=held.copy.artifact_id,
                    artifact=str(held.copy.artifact),
                    size_bytes=held.copy.artifact.size_bytes,
                    state=held.copy.state,
                    deployments=held.deployments,
                    last_used_at=held.copy.artifact.last_used_at,
                )
                for held in item.held
            ],
        )


class HubIn(Schema):
    name: str = Field(min_length=1, max_length=80)
    endpoint: str = Field("", max_length=300, description="empty: HF_ENDPOINT, or Hugging Face")
    token: str | None = Field(None, max_length=500, description="stored encrypted, never shown")
    allows_private: bool = Field(False, description="it stands on a private network, or speaks http")
    is_enabled: bool = True
    teams: list[str] = Field([], max_length=200, description="slugs of the teams that may use it; empty: all")


class HubChange(Schema):
    name: str | None = Field(None, min_length=1, max_length=80)
    endpoint: str | None = Field(None, max_length=300)
    token: str | None = Field(None, max_length=500, description="empty removes the stored one")
    allows_private: bool | None = None
    is_enabled: bool | None = None
    teams: list[str] | None = Field(None, max_length=200)


class HubOut(Schema):
    id: int
    name: str
    url: str
    has_token: bool
    allows_private: bool
    is_enabled: bool
    teams: list[str]

    @staticmethod
    def resolve_has_token(hub):  # type: ignore[no-untyped-def]
        return bool(hub.sealed_token)

    @staticmethod
    def resolve_teams(hub):  # type: ignore[no-untyped-def]
        return [team.slug for team in hub.teams.all()]


class ImageIn(Schema):
    image: str = Field(
        min_length=1, max_length=200, description="a repository like ghcr.io/me/engine; one image as name@sha256:..."
    )


class ImageOut(Schema):
    id: int
    repository: str = Field(description="with its registry in front")
    digest: str = Field(description="empty: every image of the repository")
    added_by: str
    created_at: datetime

    @staticmethod
    def resolve_added_by(row):  # type: ignore[no-untyped-def]
        return row.added_by.username if row.added_by else ""


class ApprovalIn(Schema):
    repo: str = Field(min_length=1, max_length=200)
    commit: str = Field(min_length=7, max_length=64, pattern=r"^[0-9a-f]+$")


class FoundRepoOut(Schema):
    name: str
    downloads: int
    likes: int
    updated_at: datetime | None
    is_gated: bool
    formats: list[str]
    task: str


class FitOut(Schema):
    host: str
    where: str = Field(description="GPU, 2 GPUs, memory; empty when it can never fit")
    when: When = Field(description="when_empty: the host could take it, and why says what forbids it now")
    why: str = Field(description="why not now; empty when it fits")


class VariantOut(Schema):
    key: str
    format: str
    quantisation: str
    size_bytes: int
    files: list[str]
    problem: str = Field(description="why it cannot be fetched; empty when it can")
    fits: list[FitOut] = Field(description="a rough estimate from its size, for every host")


class RepoOut(Schema):
    name: str
    commit: str
    licence: str
    is_gated: bool
    page: str
    variants: list[VariantOut]
    notes: list[str]

    @classmethod
    def of(cls, repo: Repo, offer: Offer, fits: Callable[[Variant], tuple[Place, ...]]) -> "RepoOut":
        variants = [
            VariantOut(
                key=variant.key,
                format=variant.format,
                quantisation=variant.quantisation,
                size_bytes=variant.size_bytes,
                files=[file.name for file in variant.files],
                problem=variant.problem,
                fits=[FitOut(host=one.host.name, where=one.where, when=one.when, why=one.why) for one in fits(variant)],
            )
            for variant in offer.variants
        ]
        return cls(
            name=repo.name,
            commit=repo.commit,
            licence=repo.licence,
            is_gated=repo.is_gated,
            page=repo.page,
            variants=variants,
            notes=list(offer.notes),
        )
