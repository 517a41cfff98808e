"""The engines Modelyard can start, by name. Adding one is its file and a line here."""

from webapp.engines.base import Engine
from webapp.engines.llamacpp import LlamaCpp
from webapp.engines.vllm import Vllm

_ENGINES: dict[str, Engine] = {engine.name: engine for engine in (LlamaCpp(), Vllm())}


def get(name: str) -> Engine:
    """The engine of that name. Raises KeyError with the names there are."""
    try:
        return _ENGINES[name]
    except KeyError:
        raise KeyError(f"no engine is called {name!r}; there is {', '.join(names())}") from None


def names() -> tuple[str, ...]:
    """The names of all engines, in the order they are offered."""
    return tuple(_ENGINES)
