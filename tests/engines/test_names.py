"""What knows an engine by name stands in that engine's folder; read from the syntax trees of all modules."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from webapp import engines

ROOT = Path(__file__).parents[2]
REGISTRY = Path("webapp/engines/__init__.py")
# Where a name is a tool's, which is used whatever serves models here.
ALLOWED = {
    "webapp/quantisation/": "files are made and judged by llama.cpp's programs, and timed by vLLM's image",
    "workers/launcher/": "images and tools that are built here from packages, and the model of the first run",
    "webapp/catalog/gguf.py": "an old file is converted again with llama.cpp's converter",
}


def pattern() -> re.Pattern[str]:
    """Every engine's name and title, however they are joined: llama.cpp, llama_cpp, LlamaCpp."""
    texts = [text.lower() for engine in engines.all() for text in (engine.name, engine.title)]
    words = {"[^a-z0-9]?".join(re.findall("[a-z0-9]+", text)) for text in texts}
    return re.compile("|".join(sorted(words)), re.IGNORECASE)


def modules() -> list[Path]:
    """Of the product, without the folders of engines and the history of the database."""
    own = tuple(f"webapp/engines/{name}/" for name in engines.names())
    found = sorted(path.relative_to(ROOT) for top in ("webapp", "workers") for path in (ROOT / top).rglob("*.py"))
    return [path for path in found if "migrations" not in path.parts and not str(path).startswith(own)]


def said(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every identifier and every string that is no docstring."""
    prose = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                prose.add(first.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and node not in prose:
            yield node.lineno, str(node.value)
        for field in ("id", "attr", "name", "asname", "module", "arg"):
            text = getattr(node, field, None)
            if isinstance(text, str):
                yield getattr(node, "lineno", 0), text


def named(path: Path) -> list[str]:
    """Every place of a module that names an engine, as "path:line: text"."""
    known = pattern()
    tree = ast.parse((ROOT / path).read_text())
    return [f"{path}:{line}: {text[:80]}" for line, text in said(tree) if known.search(text)]


def is_allowed(path: Path) -> bool:
    return any(str(path).startswith(place) for place in ALLOWED)


def test_no_module_outside_an_engines_folder_names_it() -> None:
    found = [place for path in modules() if not is_allowed(path) and path != REGISTRY for place in named(path)]
    assert not found, "move it into the engine's folder, or ask the adapter:\n" + "\n".join(found)


def test_an_engine_takes_an_import_and_a_line_to_register() -> None:
    tree = ast.parse((ROOT / REGISTRY).read_text())
    speaking = [node for node in tree.body if any(pattern().search(text) for _line, text in said(node))]
    imports = [node for node in speaking if isinstance(node, ast.ImportFrom)]
    calls = [node for node in speaking if isinstance(node, ast.Expr)]
    assert len(imports) == len(calls) == len(engines.names())
    assert len(speaking) == len(imports) + len(calls)


@pytest.mark.parametrize("place", ALLOWED)
def test_what_is_allowed_is_still_needed(place: str) -> None:
    assert any(named(path) for path in modules() if str(path).startswith(place))


def test_no_page_asks_which_engine_it_is() -> None:
    texts = [*(ROOT / "templates").rglob("*.html"), *(ROOT / "static").glob("*.js")]
    assert texts
    assert [str(path) for path in texts if pattern().search(path.read_text())] == []


@pytest.mark.parametrize(
    ("source", "is_named"),
    [
        ('if engine == "vllm": pass', True),
        ("from webapp.engines.llamacpp import log", True),
        ("BY_LLAMA_CPP = 1", True),
        ("class LlamaCppForm: pass", True),
        ('f"needs {x} of vLLM"', True),
        ('"""llama.cpp rounds up."""', False),
        ('def f():\n    """As vLLM does."""', False),
        ('kind = "llama"', False),
    ],
)
def test_the_reader_tells_a_name_from_a_reference(source: str, is_named: bool) -> None:
    assert any(pattern().search(text) for _line, text in said(ast.parse(source))) is is_named
