"""What people may choose about a toy."""

from typing import ClassVar, Literal

from pydantic import Field

from webapp.engines.base import EngineOptions


class ToyOptions(EngineOptions):
    """A toy's options; none of them has a name that another engine's has."""

    basic: ClassVar[tuple[str, ...]] = ("stickers",)

    stickers: int = Field(2, ge=1, le=4096, title="Stickers", description="Sheets of stickers that it keeps in memory.")
    mood: Literal["steady", "brittle"] = Field("steady", title="Mood", description="A brittle one breaks at the start.")
