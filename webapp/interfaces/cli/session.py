"""What the options in front of the command mean, and how an answer gets to the terminal."""

import os
import sys
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from webapp.interfaces.cli import lookup, profiles, show
from webapp.interfaces.cli.client import Answer, Api
from webapp.interfaces.cli.description import Description, Operation


@dataclass
class Session:
    """One call of `modelyard`."""

    description: Description
    profile: str = ""
    url: str = ""
    is_json: bool = False
    is_quiet: bool = False
    _lists: dict[str, list[Any]] = field(default_factory=dict)

    @cached_property
    def api(self) -> Api:
        chosen = profiles.choose(profiles.config_file(os.environ), self.profile, self.url)
        return Api(chosen.url, chosen.key)

    def everything(self, path: str) -> list[Any]:
        """A whole list, read once."""
        if path not in self._lists:
            self._lists[path] = self.api.pages(path)
        return self._lists[path]

    def identity(self, value: str, path: str) -> str:
        return lookup.identity(value, path, self.everything)

    def show(self, operation: Operation, answer: Answer) -> None:
        """Print an answer in the form that was asked for."""
        if operation.answers == "nothing" or not answer.body:
            self.say("Done.")
        elif not answer.is_json:
            text = answer.body.decode(errors="replace")
            sys.stdout.write(show.lines(text) if sys.stdout.isatty() else text)
        else:
            self.show_value(operation.path, answer.json)

    def show_value(self, path: str, value: Any) -> None:
        if self.is_json:
            print_json(value)
            return
        rows = value["items"] if isinstance(value, dict) and {"items", "count"} <= set(value) else value
        if self.is_quiet:
            for row in rows if isinstance(rows, list) else [rows]:
                print(show.plain(str(row.get("id", row.get("name", "")) if isinstance(row, dict) else row)))
        elif isinstance(rows, list):
            self._show_rows(path, rows, value)
        elif isinstance(rows, dict):
            show.item(rows)
        else:
            print(show.lines(str(rows)))

    def _show_rows(self, path: str, rows: list[Any], value: Any) -> None:
        if not rows:
            print("No results.")
            return
        if not isinstance(rows[0], dict):
            print("\n".join(show.plain(str(row)) for row in rows))
            return
        show.table(rows, show.columns_of(path, rows))
        if isinstance(value, dict) and value["count"] > len(rows):
            print(f"{len(rows)} of {value['count']}; --all shows the rest.", file=sys.stderr)

    def say(self, text: str) -> None:
        """A remark for people; scripts that want JSON or ids do not get it."""
        if not (self.is_json or self.is_quiet):
            print(show.lines(text))


def print_json(value: Any) -> None:
    print(show.as_json(value))
