"""The API's words for charts."""

from ninja import Field, Schema


class SeriesOut(Schema):
    label: str
    values: list[float | None] = Field(description="one per moment of `at`; null is a gap")


class ChartOut(Schema):
    title: str
    unit: str
    step_s: int = Field(description="seconds between two points; each is the average of its step")
    most: float | None = Field(description="where the scale ends, when that is known")
    at: list[int] = Field(description="unix seconds")
    series: list[SeriesOut]


class ChartsOut(Schema):
    subject: str
    range: str
    charts: list[ChartOut]
