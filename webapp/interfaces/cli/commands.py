"""Commands beside the generated ones: signing in, looking, waiting, following logs, chatting, declared states."""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from webapp.interfaces.cli import applying, profiles, show
from webapp.interfaces.cli.client import Api
from webapp.interfaces.cli.errors import Problem, TimedOut, Usage
from webapp.interfaces.cli.kinds import group_of, singular
from webapp.interfaces.cli.session import Session
from webapp.interfaces.cli.tree import JsonFlag

POLL_S = 1.0


def add_to(app: typer.Typer) -> None:
    for function in (login, logout, profiles_list, status, wait, chat, applying.apply, applying.export):
        name = {"profiles_list": "profiles"}.get(function.__name__, function.__name__)
        app.command(name)(function)


_IN_GROUPS: dict[str, tuple[Callable[..., None], ...]] = {}


def add_to_group(group: str, app: typer.Typer) -> None:
    for function in _IN_GROUPS.get(group, ()):
        app.command(function.__name__)(function)


def more_in(group: str) -> str:
    return "".join(f", {function.__name__}" for function in _IN_GROUPS.get(group, ()))


def login(
    context: typer.Context,
    url: Annotated[str, typer.Option(help="Server URL.")] = "",
    key: Annotated[str, typer.Option(help="API key; prompted for, or read from stdin, if omitted.")] = "",
    profile: Annotated[str, typer.Option(help="Name of the profile to save.")] = "",
) -> None:
    """Save the server URL and an API key as a profile, in a file that only you can read."""
    session: Session = context.obj
    file = profiles.config_file(os.environ)
    default, known = profiles.load(file)
    name = profile or session.profile or default or "default"
    before = known.get(name)
    usual = before.url if before else os.environ.get("MODELYARD_URL", profiles.DEFAULT_URL)
    is_asked = sys.stdin.isatty()
    address = url or session.url or (typer.prompt("Server URL", default=usual) if is_asked else usual)
    address = profiles.checked_url(address)
    text = (key or (typer.prompt(_KEY_PROMPT, hide_input=True) if is_asked else _key_from_input())).strip()
    me = Api(address, text).get("/me")
    known[name] = profiles.Profile(address, text)
    profiles.save(file, profile or default or name, known)
    host = address.partition("://")[2].partition("/")[0]
    if address.startswith("http://") and not host.startswith(("127.", "localhost", "[::1]")):
        print("This URL is not encrypted: the API key is sent in clear text.", file=sys.stderr)
    session.say(f"Signed in to {address} as {me['username']}; saved as profile {name!r} in {file}.")


_KEY_PROMPT = "API key (create one on the page API keys)"


def _key_from_input() -> str:
    """The first line: nobody sits there who could be asked, so nothing is printed. Raises Usage."""
    line = sys.stdin.readline().strip()
    if not line:
        raise Usage("No API key on standard input: pipe it in, or pass --key.")
    return line


def logout(context: typer.Context) -> None:
    """Delete a profile. The API key stays valid until it is revoked: modelyard keys delete."""
    session: Session = context.obj
    file = profiles.config_file(os.environ)
    default, known = profiles.load(file)
    name = session.profile or default
    if known.pop(name, None) is None:
        raise Usage("There is no profile to delete.")
    profiles.save(file, "" if name == default else default, known)
    session.say(f"Profile {name!r} deleted.")


def profiles_list(context: typer.Context, json_: JsonFlag = False) -> None:
    """List the saved profiles."""
    session: Session = context.obj
    session.is_json |= json_
    default, known = profiles.load(profiles.config_file(os.environ))
    rows = [{"name": name, "url": one.url, "is_default": name == default} for name, one in sorted(known.items())]
    session.show_value("/profiles", rows)


def status(context: typer.Context, json_: JsonFlag = False) -> None:
    """Show the current user, what needs attention, deployments, hosts and running jobs."""
    session: Session = context.obj
    session.is_json |= json_
    me = session.api.get("/me")
    parts = {path: session.api.pages(path) for path in ("/attention", "/deployments", "/hosts")}
    parts["/jobs"] = session.api.pages("/jobs", {"state": "running"}) + session.api.pages("/jobs", {"state": "queued"})
    if session.is_json:
        session.show_value("", {"url": session.api.url, "me": me, **{path[1:]: rows for path, rows in parts.items()}})
        return
    teams = ", ".join(team["slug"] for team in me["teams"]) or "no team"
    print(show.plain(f"{session.api.url} as {me['username']} ({teams})"))
    for path, rows in parts.items():
        print(f"\n{_TITLES.get(path, path[1:].upper())}")
        if rows:
            show.table(rows, show.columns_of(path, rows))
        else:
            print("none")


_TITLES = {"/attention": "NEEDS ATTENTION"}


def wait(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="deployment, job, host …, singular or plural")],
    name: Annotated[str, typer.Argument(help="name or id")],
    for_: Annotated[str, typer.Option("--for", help="A state, or `deleted`.")] = "ready",
    timeout: Annotated[float, typer.Option(help="Timeout in seconds (exit code 4).")] = 600,
) -> None:
    """Wait until something reaches a state. Exits at once, with the reason, when it fails instead."""
    session: Session = context.obj
    group = group_of(what, session.description.groups)
    if group is None or f"/{group}" not in session.description.lists:
        waited = ", ".join(singular(path[1:]) for path in sorted(_waited_for(session)))
        raise Usage(f"There is no list of {what!r}. What has states: {waited}.")
    what = group
    identity = session.identity(name, f"/{what}")
    deadline = time.monotonic() + timeout
    state = ""
    while True:
        try:
            thing = session.api.get(f"/{what}/{identity}")
        except Problem as error:
            if error.status == 404 and for_ == "deleted":
                return
            raise
        if thing.get("state") != state:
            state = str(thing.get("state"))
            session.say(f"{what} {name}: {state}")
        if state == for_:
            return
        if state == "failed":
            raise Problem(200, f"{name} failed.", _why(thing))
        if time.monotonic() >= deadline:
            raise TimedOut(f"{name} is {state} after {timeout:.0f} s, not {for_}. {_why(thing)}".strip())
        time.sleep(min(POLL_S, max(0.05, deadline - time.monotonic())))


def _waited_for(session: Session) -> list[str]:
    """Lists whose things have a page of their own, and so a state."""
    description = session.description
    return [
        path
        for path in description.lists
        if path.count("/") == 1
        and any(o.method == "GET" and o.path.startswith(f"{path}/{{") for o in description.operations)
    ]


def _why(thing: dict[str, Any]) -> str:
    """The reason that the thing or its first part gives."""
    for part in (thing, *(one for one in thing.get("replicas", ()) if one.get("reason"))):
        if part.get("reason"):
            return f"{part['reason']} {part.get('advice') or ''}".strip()
    return ""


def chat(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Deployment name, or team/name.")],
    text: Annotated[str, typer.Argument(help='Prompt text; "-" reads stdin.')],
    system: Annotated[str, typer.Option(help="System prompt.")] = "",
    max_tokens: Annotated[int | None, typer.Option(help="Max tokens to generate.")] = None,
    temperature: Annotated[float | None, typer.Option()] = None,
    json_: Annotated[bool, typer.Option("--json", help="Whole response as JSON, not streamed.")] = False,
) -> None:
    """Send a prompt to a model and stream the reply (POST /v1/chat/completions)."""
    session: Session = context.obj
    team, _, name = model.rpartition("/")
    prefix = f"/d/{team}/{name}/v1" if team else "/v1"
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": sys.stdin.read() if text == "-" else text})
    body: dict[str, Any] = {"model": name, "messages": messages}
    body |= {k: v for k, v in (("max_tokens", max_tokens), ("temperature", temperature)) if v is not None}
    if json_ or session.is_json:
        session.is_json = True
        session.show_value("", session.api.call("POST", "/chat/completions", body=body, prefix=prefix).json)
        return
    with session.api.open("POST", "/chat/completions", body=body | {"stream": True}, prefix=prefix) as reply:
        for line in reply:
            _print_piece(line)
    print()


def _print_piece(line: bytes) -> None:
    """One line of a server-sent stream of chat chunks."""
    data = line.removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
    if not data or data == b"[DONE]":
        return
    chunk = json.loads(data)
    if "error" in chunk:
        raise Problem(200, str(chunk["error"].get("message", chunk["error"])))
    for choice in chunk.get("choices", ()):
        piece = (choice.get("delta") or {}).get("content") or ""
        sys.stdout.write("".join(letter for letter in piece if letter.isprintable() or letter in "\n\t"))
        sys.stdout.flush()


def logs(
    context: typer.Context,
    deployment: Annotated[str, typer.Argument(help="name or id")],
    replica: Annotated[int, typer.Option(help="Replica number.")] = 1,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the log (like tail -f), across restarts.")
    ] = False,
    attempt: Annotated[int | None, typer.Option(help="An earlier start; default: the current one.")] = None,
) -> None:
    """Print a replica's log."""
    session: Session = context.obj
    path = f"/deployments/{session.identity(deployment, '/deployments')}/replicas/{replica}/log"
    offset, seen = 0, attempt
    while True:
        query = {"offset": offset} | ({"attempt": attempt} if attempt else {})
        piece = session.api.call("GET", path, query).json
        if seen is not None and piece["attempt"] != seen and offset:
            offset, seen = 0, piece["attempt"]  # started again: its log begins anew
            continue
        seen, offset = piece["attempt"], piece["next_offset"]
        sys.stdout.write("".join(c for c in piece["text"] if c.isprintable() or c in "\n\t"))
        sys.stdout.flush()
        if piece["has_more"]:
            continue
        if not follow:
            return
        time.sleep(POLL_S)


_IN_GROUPS["deployments"] = (logs,)
