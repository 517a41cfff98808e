"""Advice names what its reader can do: pages, commands, addresses and options that are there."""

import ast
import json
import re
from collections.abc import Iterator

import pytest

from webapp.foundation.paths import REPOSITORY
from webapp.gateway.inference.engine_advice import followable
from webapp.gateway.inference.engine_errors import normalise
from webapp.interfaces.api import openapi

# Which argument of a call is advice; a keyword of that name always is.
PLACES = {
    "Conflict": 1, "Invalid": 1, "NotAllowed": 1, "ServiceError": 1, "NotFound": 1, "NotEnoughMemory": 1,
    "Unavailable": 1, "Reason": 2, "Death": 2, "Told": 2, "refused": 2, "ExitReason": 2, "problem": 3, "Concern": 5,
}  # fmt: skip
NAMES = {"advice", "memory_advice", "gpu_advice", "kernel_advice"}
CONSTANTS = re.compile(r"ADVICE|_AGAIN|_GONE|_advice$")
TABLES = ("_MODEL_ERRORS", "_START_ERRORS", "_LOAD_FAILED")


def advices() -> Iterator[tuple[str, str]]:
    """(where, text) of everything in the code that tells people what to do; what is filled in later is `{}`."""
    for folder in ("webapp", "workers"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                for text in _told(node):
                    yield f"{path.relative_to(REPOSITORY)}:{node.lineno}", text


def _told(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        yield from (_text(word.value) for word in node.keywords if word.arg in NAMES)
        place = PLACES.get(name)
        if place is not None and len(node.args) > place:
            yield _text(node.args[place])
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        names = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(name, ast.Name) and (CONSTANTS.search(name.id) or name.id in TABLES) for name in names):
            yield from (found.value for found in ast.walk(node.value) if _is_text(found))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return " ".join(found.value for found in ast.walk(node) if _is_text(found))


ALL = [(where, text) for where, text in advices() if text.strip()]


def test_advice_is_found():
    assert len(ALL) > 100
    assert any("Delete this deployment" in text for _where, text in ALL)
    assert any("docker unpause" in text for _where, text in ALL)


def told(pattern: str) -> list[tuple[str, str]]:
    return [(where, found) for where, text in ALL for found in re.findall(pattern, text)]


def test_no_advice_names_a_flag_of_an_engine():
    assert told(r"(?<![\w-])--(?!filter)[a-z][\w-]+") == []


def test_no_advice_wants_a_setting_that_a_deployment_does_not_have():
    # Its memory follows from its options; nobody can give it more.
    assert told(r"(?i)more memory, |give it (?:more )?memory") == []


def test_every_command_of_an_advice_is_there():
    from webapp.interfaces.cli.description import Description

    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert {name for _where, name in told(r"`make ([\w-]+)")} <= targets
    groups = Description(json.loads(openapi.current())).groups
    assert {name for _where, name in told(r"`modelyard ([\w-]+)")} <= {*groups, "status", "login", "wait", "apply"}


def test_every_address_of_an_advice_is_there():
    paths = {re.sub(r"{\w+}", "{id}", path) for path in json.loads(openapi.current())["paths"]}
    asked = {re.sub(r"{\w*}", "{id}", path).rstrip(".") for _where, path in told(r"(?:GET|PUT|POST) (/[\w/{}-]+)")}
    assert {path if path.startswith("/api/") else f"/api/v1{path}" for path in asked} <= paths


def test_every_page_of_an_advice_is_there():
    headings = set()
    for path in (REPOSITORY / "templates").rglob("*.html"):
        headings |= set(re.findall(r"{% block heading %}([^{]+?)(?: of {{.*)?{% endblock %}", path.read_text()))
    headings |= {heading.strip() for heading in headings}
    named = {name for _where, name in told(r"(?:Settings|Models) > ([A-Z][\w-]*(?: [a-z]+)?)")}
    named |= {name for _where, name in told(r"(?:the|your) page ((?!Models|Settings)[A-Z][\w-]*(?: keys)?)")}
    named |= {name for _where, name in told(r"the ([A-Z][\w-]*) page")}
    named |= {name for _where, name in told(r"the ([A-Z][\w-]*) page")}
    named = {name if name in headings else name.partition(" ")[0] for name in named}
    assert named and named <= headings | {"API keys"}, named - headings


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        (
            "This server does not support embeddings. Start it with `--embeddings`",
            "This server does not support embeddings. An operator of its team can switch “Embeddings endpoint” on in "
            "its options.",
        ),
        (
            "This server does not support completions. Start it without `--embeddings`",
            "This server does not support completions. An operator of its team can switch “Embeddings endpoint” off in "
            "its options.",
        ),
        (
            "This server does not support reranking. Start it with `--reranking`",
            "This server does not support reranking. Deployments here do not offer it.",
        ),
        (
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set. These are flags '
            "of the engine; a deployment's options list what can be set here.",
        ),
        ("the request exceeds the available context size", "the request exceeds the available context size"),
        ("a -- b and a-b --", "a -- b and a-b --"),
    ],
)
def test_what_an_engine_advises_whoever_starts_it_becomes_what_people_can_do(said, becomes):
    assert followable(said) == becomes
    assert followable(becomes) == becomes or "--" in becomes
    body = json.dumps({"error": {"message": said, "code": 501, "type": "not_supported_error"}}).encode()
    assert normalise(501, body).message == f"The engine does not serve this: {becomes}"


def test_the_names_of_options_are_those_of_the_form():
    from webapp.engines.llamacpp.options import LlamaCppOptions
    from webapp.gateway.inference import engine_advice

    titles = {field.title for field in LlamaCppOptions.model_fields.values()}
    assert set(engine_advice._OPTIONS.values()) <= titles
