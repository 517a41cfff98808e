"""The program `modelyard`.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 server unreachable (for `apply --exit-code`: there are changes to
make), 4 timed out.
"""

import os
import sys
from typing import Annotated, Any

import typer

from webapp.interfaces.cli import commands, tree
from webapp.interfaces.cli.description import Description
from webapp.interfaces.cli.errors import Failed
from webapp.interfaces.cli.kinds import singular
from webapp.interfaces.cli.session import Session

HELP = """Place, run, watch and proxy large language models on your own machines.

Every operation of the REST API is a command. Names can be used instead of IDs, and groups have a singular form:
`modelyard deployment get chat`.

Exit codes: 0 done, 1 refused, 2 usage, 3 server unreachable, 4 timed out.
"""


def build(words: list[str], description: Description | None = None) -> typer.Typer:
    """The program for this command line. Groups that it does not name are listed but not filled: that takes time."""
    description = description or Description.read()
    app = typer.Typer(
        name="modelyard", help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
    )

    @app.callback()
    def options(
        context: typer.Context,
        profile: Annotated[str, typer.Option(help="Profile saved by `modelyard login`.")] = "",
        url: Annotated[str, typer.Option(help="Server URL; default: MODELYARD_URL, else the profile.")] = "",
        json_: Annotated[bool, typer.Option("--json", help="Output raw JSON.")] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print IDs only.")] = False,
    ) -> None:
        context.obj = Session(description, profile, url, json_, quiet)

    commands.add_to(app)
    for group in description.groups:
        names = [name for name in dict.fromkeys((group, singular(group))) if name in words]
        for name in names:
            inner = tree.add_group(app, group, description, name)
            commands.add_to_group(group, inner)
        if group not in names:
            app.add_typer(_closed(group, description), name=group)
    return app


def _closed(group: str, description: Description) -> typer.Typer:
    """A group that is only listed."""
    names = ", ".join(operation.command for operation in description.of(group)) + commands.more_in(group)
    closed = typer.Typer(help=names, invoke_without_command=True)

    @closed.callback()
    def nothing() -> None: ...

    return closed


def main(words: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    words = sys.argv[1:] if words is None else words
    completing = os.environ.get("_TYPER_COMPLETE_ARGS", "") or os.environ.get("COMP_WORDS", "")
    app = build([*words, *completing.split()])
    try:
        app(words, prog_name="modelyard", standalone_mode=True)
    except Failed as error:
        _say(error)
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read us has had enough; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _say(error: Any) -> None:
    from webapp.interfaces.cli.show import plain

    for number, line in enumerate(str(error).splitlines()):
        print(("modelyard: " if number == 0 else "  ") + plain(line), file=sys.stderr)
