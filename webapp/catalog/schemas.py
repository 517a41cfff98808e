"""The API's words for models and artifacts. Sizes are bytes."""

from datetime import datetime
from typing import Any

from ninja import Field, Schema


class CopyOut(Schema):
    host: str = Field(alias="host.name")
    host_id: int
    state: str
    verified_at: datetime | None


class ArtifactOut(Schema):
    id: int
    model: str = Field(alias="catalog_model.name")
    format: str
    quantisation: str
    main_file: str
    size_bytes: int
    files: list[dict[str, Any]] = Field(description="name, size_bytes and sha256 of every file")
    facts: dict[str, Any] = Field(description="what the file's header says")
    copies: list[CopyOut]
    created_at: datetime

    @staticmethod
    def resolve_copies(artifact):  # type: ignore[no-untyped-def]
        return list(artifact.copies.all())
