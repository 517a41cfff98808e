"""A report as CSV, safe to open in a spreadsheet. Pure."""

import csv
import io
from collections.abc import Iterable, Iterator

from webapp.usage.reports import GROUPS, Report, Row

# A cell that begins with one of these is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def lines(report: Report, group: str) -> Iterator[str]:
    """The rows as they are shown, all pages, and the total; CRLF as RFC 4180 says."""
    head = [GROUPS[group], "Detail", "Requests", "Failed", "Prompt tokens", "Completion tokens", "Total tokens"]
    yield _line(head)
    for row in (*report.rows, report.total):
        yield _line([cell(row.label.text), cell(row.label.detail), *_numbers(row)])


def cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _numbers(row: Row) -> list[int]:
    return [row.requests, row.failed, row.prompt_tokens, row.completion_tokens, row.tokens]


def _line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue()
