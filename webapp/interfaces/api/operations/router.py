"""REST endpoints of running Modelyard: what wants a person, and the master key."""

from datetime import datetime

from django.http import Http404, HttpRequest
from ninja import Field, Router, Schema, Status

from webapp.interfaces.api.callers import caller
from webapp.interfaces.kit import attention
from webapp.interfaces.kit.concerns import Concern
from webapp.operations import rotating

router = Router(tags=["attention"])


class AttentionOut(Schema):
    kind: str = Field(description="`replica`, `host`, `job`, `schedule`, `backup`, `certificate` …")
    word: str = Field(description="its state, or what is wrong, in a word")
    title: str
    since: datetime | None = Field(description="since when; null where nobody knows")
    reason: str
    advice: str = Field(description="what to do")
    url: str = Field(description="the page about it, as a path")


@router.get("/attention", response=list[AttentionOut], summary="List what needs attention, worst first")
def list_attention(request: HttpRequest) -> list[Concern]:
    """What Home begins with: whatever is not what was asked of it for longer than usual, with what to do. Empty: all is
    well."""
    return attention.concerns(caller(request))


class KeyUseOut(Schema):
    id: str = Field(description="names the key and says nothing about it; backups and key files name the same")
    since: datetime | None = Field(description="since when it writes; null: nobody wrote that down")
    is_writing: bool = Field(description="whether secrets are encrypted under it now; others still read")
    rows: int = Field(description="rows that are under it")


class MasterKeyOut(Schema):
    keys: list[KeyUseOut] = Field(description="the one that writes first; several while it is rotated")
    rows_behind: int = Field(description="rows that are not under the key that writes")
    is_rotating: bool
    drops_at: datetime | None = Field(description="the earliest end of the old key; null: now, or none is left")


@router.get("/master-key", response=MasterKeyOut, tags=["administration"], summary="Which master key encrypts secrets")
def get_master_key(request: HttpRequest) -> rotating.Status:
    """The keys by their ids, and how many rows use each. For administrators."""
    if not caller(request).is_superuser:
        raise Http404
    return rotating.status()


@router.post(
    "/master-key/rotate", response={202: MasterKeyOut}, tags=["administration"], summary="Rotate the master key"
)
def rotate_master_key(request: HttpRequest) -> Status[rotating.Status]:
    """A new key writes from now on; the worker encrypts every secret anew and drops the old key ten minutes later at
    the earliest. People sign in again then. While it is under way, asking again changes nothing. Backups made until now
    need the key of before: `make backup-key` must have saved it."""
    user = caller(request)
    if not user.is_superuser:
        raise Http404
    return Status(202, rotating.rotate(user))
