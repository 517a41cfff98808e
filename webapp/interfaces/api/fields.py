"""Types of API fields that say their own limits, so that nothing reaches a database that cannot hold it."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

# What PostgreSQL's bigint and SQLite's INTEGER hold.
MOST = 2**63 - 1

RowId = Annotated[int, Field(ge=1, le=MOST, description="the id of a row")]
Name = Annotated[str, Field(min_length=1, max_length=80)]
Slug = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[-a-zA-Z0-9_]+$")]
Search = Annotated[str, Field(max_length=100, description="words to look for")]


def _in_utc(moment: datetime) -> datetime:
    """PostgreSQL takes no offsets beyond 15:59, and no database a year that the offset has pushed over an end."""
    try:
        found = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None
    if not 1970 <= found.year <= 9998:
        raise ValueError("must lie between the years 1970 and 9998")
    return found


# A time with its offset, kept in UTC.
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
