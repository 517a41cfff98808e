"""The engines Modelyard can start, by name. Adding one is its folder and its line at the end of this file.

A folder has adapter.py (base.Engine) and, where there is something to say, options, memory, log, exits, metrics,
images, presets, devices. Nothing outside names an engine; tests/engines/toy is a small one to begin with.
"""

from webapp.engines.base import Engine
from webapp.engines.llamacpp.adapter import LlamaCpp
from webapp.engines.vllm.adapter import Vllm

_ENGINES: dict[str, Engine] = {}


def register(engine: Engine) -> None:
    """Offer an engine, behind those that are there. Raises ValueError for a name that is taken."""
    if engine.name in _ENGINES:
        raise ValueError(f"an engine is called {engine.name!r} already")
    _ENGINES[engine.name] = engine


def unregister(name: str) -> None:
    """Offer it no longer. Raises KeyError when it was not there."""
    del _ENGINES[name]


def get(name: str) -> Engine:
    """The engine of that name. Raises KeyError with the names there are."""
    try:
        return _ENGINES[name]
    except KeyError:
        raise KeyError(f"no engine is called {name!r}; there is {', '.join(names())}") from None


def names() -> tuple[str, ...]:
    """The names of all engines, in the order they are offered."""
    return tuple(_ENGINES)


def all() -> tuple[Engine, ...]:
    """All engines, in the order they are offered."""
    return tuple(_ENGINES.values())


register(LlamaCpp())
register(Vllm())
