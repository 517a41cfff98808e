"""REST doors of running Modelyard: what wants a person."""

from datetime import datetime

from django.http import HttpRequest
from ninja import Field, Router, Schema

from webapp.interfaces.api.callers import caller
from webapp.interfaces.kit import attention
from webapp.interfaces.kit.concerns import Concern

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
