"""The API's words for recipes, texts and measurements. Sizes are bytes."""

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Schema

from webapp.interfaces.api.fields import Name, RowId
from webapp.quantisation.picking import Priority
from webapp.quantisation.recipes import Measure, Recipe


class RecipeOut(Schema):
    method: str
    title: str
    summary: str
    takes: list[str] = Field(description="formats of the source")
    makes: str = Field(description="format of the result")
    expected_loss: str = Field(description="what the survey of tools expects, in percent of perplexity")
    options: dict[str, Any] = Field(description="JSON schema of the options")


class AskIn(Schema):
    artifact: RowId = Field(description="what it is made from")
    recipe: Recipe
    measure: Measure | None = Field(None, description="compare it with its source; absent: only check that it loads")


class PreviewIn(AskIn):
    host: RowId | None = Field(None, description="also say whether this host has the room")


class QuantisationIn(AskIn):
    host: RowId = Field(description="where the work is done; it must have the source")
    team: str | None = Field(None, max_length=40, description="the team's slug; default: your first team")
    calibration: RowId | None = Field(None, description="the calibration dataset; default: the built-in one")
    judging: RowId | None = Field(None, description="the evaluation dataset; default: the built-in one")
    prompts: RowId | None = Field(None, description="golden prompts that the result is asked")


class GoldenPrompt(Schema):
    prompt: str = Field(min_length=1, max_length=4000)
    way: Literal["contains", "matches", "equals"] = Field(
        "contains", description="a text in whatever case, a regular expression, or the whole answer"
    )
    expected: str = Field(min_length=1, max_length=500)


class PromptSetIn(Schema):
    name: Name
    team: str | None = Field(None, max_length=40, description="the team's slug; default: your first team")
    prompts: list[GoldenPrompt] = Field(min_length=1, max_length=100)


class PromptSetOut(Schema):
    id: int
    name: str
    team: str = Field(alias="team.slug")
    sha256: str
    prompts: list[GoldenPrompt]
    created_at: datetime


class AgainIn(Schema):
    host: RowId = Field(description="where the work is done; it must have the parent")
    team: str | None = Field(None, max_length=40, description="the team's slug; default: your first team")


class RefusalOut(Schema):
    what: str
    advice: str
    field: str


class PreviewOut(Schema):
    is_possible: bool
    label: str
    file: str
    steps: list[str]
    result_bytes: int | None = Field(None, description="estimate")
    disk_bytes: int | None = Field(None, description="what must be free on the host")
    memory_bytes: int | None = Field(None, description="reserved on the host")
    notes: list[str] = []
    refusals: list[RefusalOut]


class EvaluationOut(Schema):
    id: int
    artifact_id: int
    against_id: int | None = Field(description="the source; null for a source itself, the base line of its results")
    host: str | None = None
    job_id: int | None
    tool: str
    text_name: str
    text_sha256: str
    context: int
    chunks: int
    at: datetime
    values: dict[str, Any]

    @staticmethod
    def resolve_host(row):  # type: ignore[no-untyped-def]
        return row.host.name if row.host else None


class DatasetOut(Schema):
    id: int
    name: str
    team: str | None = Field(None, description="absent: everybody's")
    licence: str
    sha256: str
    size_bytes: int
    created_at: datetime

    @staticmethod
    def resolve_team(row):  # type: ignore[no-untyped-def]
        return row.team.slug if row.team else None


class DatasetWithText(DatasetOut):
    text: str


class DatasetIn(Schema):
    name: Name
    team: str | None = Field(None, max_length=40, description="the team's slug; default: your first team")
    licence: str = Field("", max_length=80)
    text: str = Field(min_length=1, max_length=4 * 1024**2, description="UTF-8, paragraphs with empty lines between")


class PickQuery(Schema):
    model: str = Field(max_length=120, pattern=r"^[-a-zA-Z0-9_]+$", description="the model's slug")
    memory_bytes: int = Field(ge=1, le=2**50)
    context: int = Field(4096, ge=1, le=10**8, description="tokens of each user")
    users: int = Field(1, ge=1, le=10**5, description="at the same time")
    priority: Priority = "quality"


class PickOut(Schema):
    artifact_id: int | None
    name: str | None
    needed_bytes: int
    why: str
