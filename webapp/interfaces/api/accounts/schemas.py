"""The API's words for people, teams, keys and the audit log."""

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Schema

from webapp.interfaces.api.fields import Moment

Scope = Literal["inference", "read", "manage"]
RoleName = Literal["viewer", "operator", "admin"]


class TeamOut(Schema):
    id: int
    name: str
    slug: str


class OwnMembershipOut(TeamOut):
    id: int = Field(alias="team.id")
    name: str = Field(alias="team.name")
    slug: str = Field(alias="team.slug")
    role: str


class MeOut(Schema):
    id: int
    username: str
    email: str
    is_admin: bool = Field(alias="is_superuser")
    teams: list[OwnMembershipOut] = Field(alias="memberships")


class TeamIn(Schema):
    name: str = Field(min_length=1, max_length=80)
    slug: str = Field("", max_length=40, description="part of URLs; default: made from the name")


class TeamPatch(Schema):
    name: str | None = Field(None, min_length=1, max_length=80)
    slug: str | None = Field(None, min_length=1, max_length=40)


class MemberOut(Schema):
    id: int = Field(alias="user.id")
    username: str = Field(alias="user.username")
    email: str = Field(alias="user.email")
    role: str
    is_by_rule: bool = Field(description="given by the rules of single sign-on")
    is_active: bool = Field(alias="user.is_active")
    joined_at: datetime


class MemberIn(Schema):
    username: str = Field(max_length=150)
    role: RoleName = "operator"


class RoleIn(Schema):
    role: RoleName


class InvitationIn(Schema):
    role: RoleName = "operator"
    note: str = Field("", max_length=200, description="for whom")


class InvitationOut(Schema):
    id: int
    role: str
    note: str
    state: str = Field(description="pending, used, revoked, expired, or void: who made it may not invite now")
    created_by: str | None = Field(None, alias="created_by.username")
    used_by: str | None = Field(None, alias="used_by.username")
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None


class NewInvitationOut(InvitationOut):
    link: str = Field(description="to be given to the person; shown this once")


class LinkOut(Schema):
    expires_at: datetime
    link: str = Field(description="to be given to the person; shown this once")


class KeyIn(Schema):
    name: str = Field(max_length=80, min_length=1, description="what the key is for")
    team: str | None = Field(None, description="the team's slug; default: your first team")
    scopes: list[Scope] = Field(["inference", "read", "manage"], description="what the key opens")
    expires_at: Moment | None = Field(None, description="when it expires; default: never")


class ServiceKeyIn(Schema):
    name: str = Field(max_length=80, min_length=1, description="what the key is for")
    scopes: list[Scope] = Field(["inference"], description="what the key opens")
    expires_at: Moment | None = Field(None, description="when it expires; default: never")


class KeyPatch(Schema):
    name: str | None = Field(None, max_length=80, min_length=1)
    expires_at: Moment | None = Field(None, description="null: never")


class RotateIn(Schema):
    overlap_h: Literal[0, 24, 168] = Field(0, description="hours that the old key works on beside the new one")


class KeyOut(Schema):
    id: int
    name: str
    prefix: str
    team: str = Field(alias="team.slug")
    is_service: bool = Field(description="belongs to the team, not to a person")
    owner: str
    scopes: list[str]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKeyOut(KeyOut):
    key: str = Field(description="the secret itself, shown this once")


class PersonOut(Schema):
    id: int
    username: str
    email: str
    is_active: bool
    is_admin: bool = Field(alias="is_superuser")
    last_login: datetime | None
    teams: list[OwnMembershipOut] = Field(alias="memberships")


class PersonPatch(Schema):
    is_active: bool | None = None
    is_admin: bool | None = Field(None, description="whether this person runs the whole installation")


class AuditOut(Schema):
    id: int
    at: datetime
    username: str
    team: str = Field(alias="team_name")
    verb: str
    subject: str
    detail: dict[str, Any]
    key_prefix: str
    address: str
    request_id: str


class RuleOut(Schema):
    group: str
    team: str
    role: RoleName


class SignInOut(Schema):
    is_second_factor_required: bool
    is_sso_on: bool
    sso_name: str
    issuer: str
    client_id: str
    email_domains: list[str]
    email_claim: str
    trusts_addresses: bool
    makes_people: bool
    group_claim: str
    rules: list[RuleOut]


class SignInIn(Schema):
    """What is absent becomes the default; an absent `client_secret` stays."""

    is_second_factor_required: bool = False
    is_sso_on: bool = False
    sso_name: str = Field("", max_length=60)
    issuer: str = Field("", max_length=300)
    client_id: str = Field("", max_length=200)
    client_secret: str = Field("", max_length=500)
    email_domains: list[str] = []
    email_claim: str = Field("email", max_length=60, description="the ID token's claim that holds the address")
    trusts_addresses: bool = Field(
        False, description="let in addresses that the provider says nothing about; never those it calls unverified"
    )
    makes_people: bool = False
    group_claim: str = Field("groups", max_length=60)
    rules: list[RuleOut] = []
