"""REST endpoint of samples."""

from typing import Annotated, Any, Literal

from django.http import HttpRequest
from ninja import Field, Router

from webapp.foundation.errors import Invalid
from webapp.foundation.text import parse_id
from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.samples.schemas import ChartsOut
from webapp.samples import charts

router = Router(tags=["samples"])


@router.get("/samples", response=ChartsOut, summary="Get metrics of a host, deployment or replica over time")
def read_samples(
    request: HttpRequest,
    subject: Annotated[str, Field(max_length=40, description="host:1, deployment:7 or replica:12")],
    range: Literal["1h", "24h", "30d"] = "1h",
) -> dict[str, Any]:
    kind, _, key = subject.partition(":")
    pk = parse_id(key)
    if pk is None:
        message = f"{subject!r} names nothing. Write host:1, deployment:7 or replica:12."
        raise Invalid(message, fields={"subject": message})
    found = charts.of(caller(request), kind, pk, range)
    return {"subject": subject, "range": range, "charts": [chart.as_json() for chart in found]}
