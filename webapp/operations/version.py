"""Which Modelyard this is."""

import tomllib
from functools import cache

from webapp.foundation.paths import REPOSITORY


@cache
def version() -> str:
    """The version that the project file names."""
    return str(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"])
