"""The imports of the product's files, read from their syntax trees: nothing is imported for it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def sources() -> list[Path]:
    """Every Python file of the product but migrations, which Django reads by itself."""
    found = [ROOT / "manage.py", *(ROOT / "webapp").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]
    return sorted(path for path in found if "migrations" not in path.parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def name(path: Path) -> str:
    """`webapp.catalog.models`; a package has the name of its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def folder_of(module: str, package: str) -> str | None:
    """The first part of a module's name below `package`: `http` for `webapp.gateway.http.errors`; None outside."""
    return module.removeprefix(f"{package}.").split(".")[0] if module.startswith(f"{package}.") else None


@cache
def modules() -> dict[str, Path]:
    return {name(path): path for path in sources()}


def imported(path: Path) -> set[str]:
    """The product's modules that a file imports: at its head, inside of functions, and for type checkers."""
    return {module for node in ast.walk(tree(path)) for module in _modules_of(node)}


def _modules_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules())
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            if inner in modules():
                yield inner
            elif node.module in modules():
                yield node.module


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules of which each imports all others in the end (Tarjan's strongly connected components)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for other in sorted(edges.get(module, ())):
            if other not in number:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], number[other])
        if low[module] == number[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1 or module in edges.get(module, ()):
                found.append(sorted(group))

    for module in sorted(edges):
        if module not in number:
            visit(module)
    return found
