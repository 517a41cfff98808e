"""A usage report as a file to download: the same for page and API."""

from django.http import HttpResponse

from webapp.usage import tables
from webapp.usage.reports import Question, Report


def csv_response(found: Report, question: Question) -> HttpResponse:
    """All rows of the report as CSV, named for its group and range."""
    name = f"usage-by-{question.group}-{question.range.first}-{question.range.last}.csv"
    response = HttpResponse("".join(tables.lines(found, question.group)), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
