"""Makes a command of every operation of the API: path parameters become arguments, everything else options."""

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from webapp.interfaces.cli.description import Description, Field, Operation
from webapp.interfaces.cli.errors import Usage
from webapp.interfaces.cli.session import Session

_TYPES: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool}
# Options that every command has; a field of the same name gets the group's name in front.
_OURS = ("json", "quiet", "all", "body", "help")

JsonFlag = Annotated[bool, typer.Option("--json", help="Output raw JSON.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Print IDs only.")]


def add_group(app: typer.Typer, group: str, description: Description, name: str = "") -> typer.Typer:
    """A sub-application with one command per operation of the group, called `name` where that is another word."""
    operations = description.of(group)
    summary = ", ".join(operation.command for operation in operations)
    inner = typer.Typer(no_args_is_help=True, help=f"{group.replace('-', ' ').capitalize()}: {summary}.")
    for operation in operations:
        inner.command(operation.command, help=_help(operation), short_help=operation.summary)(command(operation))
    is_other = bool(name) and name != group
    app.add_typer(inner, name=name or group, hidden=is_other, rich_help_panel=panel(description.groups[group]))
    return inner


def panel(tag: str) -> str:
    return tag.capitalize()


def command(operation: Operation) -> Callable[..., None]:
    """A function whose signature is what the operation takes, as Typer reads it."""
    named = {f"{field.place}_{field.name}": field for field in operation.fields}
    parameters = [_parameter(name, field, operation.group) for name, field in named.items()]
    if operation.has_body:
        parameters.append(_plain("body", str | None, typer.Option(None, "--body", metavar="JSON", help=BODY_HELP)))
    if operation.answers == "page":
        parameters.append(_plain("all_", bool, typer.Option(False, "--all", help="Fetch all pages.")))
    parameters += [
        inspect.Parameter("json_", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonFlag),
        inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=QuietFlag),
    ]

    def run(context: typer.Context, **given: Any) -> None:
        session: Session = context.obj
        session.is_json |= given.pop("json_")
        session.is_quiet |= given.pop("quiet")
        perform(session, operation, named, given)

    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    run.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (context, *parameters)}
    return run


BODY_HELP = "Request body as JSON, @FILE or - for stdin; options override its fields."


def perform(session: Session, operation: Operation, named: Mapping[str, Field], given: dict[str, Any]) -> None:
    """Call the operation with what was typed and print the answer."""
    walk = given.pop("all_", False)
    body = read_body(given.pop("body", None)) if operation.has_body else None
    path = operation.path
    query: dict[str, Any] = {}
    sent: dict[str, str] = {}
    for name, field in named.items():
        value = given[name]
        if value is None or value == []:
            continue
        value = _value(session, field, value, sent)
        if field.place == "path":
            sent["{" + field.name + "}"] = _quoted(value)
            path = path.replace("{" + field.name + "}", _quoted(value))
        elif field.place == "query":
            query[field.name] = str(value).lower() if isinstance(value, bool) else value
        else:
            assert body is not None
            body[field.name] = value
    if body is not None:
        missing = [f.name for f in named.values() if f.place == "body" and f.is_required and f.name not in body]
        if missing:
            raise Usage("Missing: " + ", ".join(option(name, operation.group) for name in missing))
    if walk:
        items = session.api.pages(path, query)
        session.show_value(operation.path, {"items": items, "count": len(items)})
    else:
        session.show(operation, session.api.call(operation.method, path, query, body))


def read_body(text: str | None) -> dict[str, Any]:
    """The JSON object typed, in a file or on standard input. Raises Usage."""
    if text is None:
        return {}
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text()
        body = json.loads(text)
    except (OSError, ValueError) as error:
        raise Usage(f"--body: {error}") from None
    if not isinstance(body, dict):
        raise Usage("--body: a JSON object is needed.")
    return body


def option(name: str, group: str) -> str:
    word = name.replace("_", "-")
    return f"--{group.removesuffix('s')}-{word}" if word in _OURS else f"--{word}"


def _parameter(name: str, field: Field, group: str) -> inspect.Parameter:
    text = field.help
    if field.names_in:
        text = f"{text or field.name.removesuffix('_id').replace('_', ' ')} (name or id)"
    kind: Any = str if field.names_in else _TYPES.get(field.kind, str)
    if field.choices:
        kind = Literal[field.choices]
    if field.place == "path":
        metavar = field.name.removesuffix("_id").upper()
        return _plain(name, kind, typer.Argument(..., metavar=metavar, help=text))
    word = option(field.name, group)
    if field.default not in (None, "", [], {}):
        shown = " ".join(map(str, field.default)) if isinstance(field.default, list) else str(field.default)
        text = f"{text} [default: {shown}]".strip()
    if field.kind == "bool":
        return _plain(name, bool | None, typer.Option(None, f"{word}/--no-{word[2:]}", help=text))
    if field.kind == "list":
        # Typer has no lists of choices: Modelyard itself refuses what is none.
        text = f"{text} ({', '.join(field.choices)}; may be repeated)".strip() if field.choices else text
        return _plain(name, list[str] | None, typer.Option(None, word, help=text))
    if field.kind == "json":
        text = f"{text} (KEY=VALUE, may be repeated, or JSON)".strip()
        declared = typer.Option(None, word, metavar="KEY=VALUE", help=text)
        return _plain(name, list[str] | None, declared)
    if field.is_required and field.place == "body":
        text = f"{text} [required]".strip()
    return _plain(name, kind | None, typer.Option(None, word, help=text))


def _plain(name: str, kind: Any, declared: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=declared, annotation=kind)


def _value(session: Session, field: Field, value: Any, sent: Mapping[str, str]) -> Any:
    """What was typed, as the API wants it: ids for names, JSON for pairs. `sent` fills the path of nested lists."""
    if field.kind == "json":
        return pairs(value)
    if not field.names_in:
        return value
    path = field.names_in
    for place, text in sent.items():
        path = path.replace(place, text)
    found = session.identity(value, path)
    return found if field.place == "path" else int(found)


def pairs(words: list[str]) -> Any:
    """`a=1 b=text` as {"a": 1, "b": "text"}; one word of JSON as what it says. Raises Usage."""
    if len(words) == 1 and words[0][:1] in "[{":
        try:
            return json.loads(words[0])
        except ValueError as error:
            raise Usage(f"{words[0]!r} is not JSON: {error}") from None
    found = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise Usage(f"{word!r}: write KEY=VALUE, or JSON.")
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found


def _quoted(value: Any) -> str:
    from urllib.parse import quote

    return quote(str(value), safe="")


def _help(operation: Operation) -> str:
    return f"{operation.summary}.\n\n{operation.help}".strip()
