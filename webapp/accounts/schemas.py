"""The API's words for people, teams and keys."""

from datetime import datetime
from typing import Literal

from ninja import Field, Schema

from webapp.api_types import Moment

Scope = Literal["inference", "read", "manage"]


class TeamOut(Schema):
    id: int
    name: str
    slug: str


class MeOut(Schema):
    id: int
    username: str
    email: str
    is_admin: bool = Field(alias="is_superuser")
    teams: list[TeamOut]


class KeyIn(Schema):
    name: str = Field(max_length=80, min_length=1, description="what the key is for")
    team: str | None = Field(None, description="the team's slug; your first team when absent")
    scopes: list[Scope] = Field(["inference", "read", "manage"], description="what the key opens")
    expires_at: Moment | None = Field(None, description="when it stops working; never when absent")


class KeyOut(Schema):
    id: int
    name: str
    prefix: str
    team: str = Field(alias="team.slug")
    scopes: list[str]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKeyOut(KeyOut):
    key: str = Field(description="the secret itself, shown this once")
