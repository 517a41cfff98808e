"""Names instead of ids: `chat`, `research/chat` or `SmolLM2/Q8_0` stand for the one thing that they name."""

from collections.abc import Callable, Mapping
from typing import Any

from webapp.interfaces.cli import show
from webapp.interfaces.cli.errors import Usage

_NAMES = ("name", "slug", "username", "prefix", "uuid", "main_file", "title", "email", "repository")


def names_of(item: Mapping[str, Any]) -> set[str]:
    """Everything a thing may be called by. Alone the plainest come first in people's minds; all are equal here."""
    names = {str(item[field]) for field in _NAMES if item.get(field)}
    if item.get("model"):
        names.add(str(item["model"]))
        if item.get("quantisation"):
            names |= {f"{item['model']}/{item['quantisation']}", f"{item['model']} {item['quantisation']}"}
    team = item.get("team")
    if isinstance(team, str):
        names |= {f"{team}/{name}" for name in (item.get("name"), item.get("slug")) if name}
    return names


def identity(value: str, path: str, everything: Callable[[str], list[Any]]) -> str:
    """The id of what `value` names in the list at `path`; a number is an id already.

    `everything` reads the whole list. Raises Usage when nothing or more than one thing has that name.
    """
    if value.isascii() and value.isdigit():
        return value
    items = everything(path)
    found = [item for item in items if value in names_of(item)]
    what = path.rpartition("/")[2]
    if len(found) == 1:
        return str(found[0]["id"])
    if found:
        known = "\n".join("  ".join(["", str(item["id"]), _label(item), *_apart(item)]) for item in found[:10])
        raise Usage(f"{value!r} names {len(found)} {what}; write the id:\n{known}")
    near = ", ".join(sorted({_label(item) for item in items})[:8])
    raise Usage(f"There is no {value!r} among the {what} that you may see" + (f" ({near})." if near else "."))


def _apart(item: Mapping[str, Any]) -> list[str]:
    """What tells files of one model and quantisation apart."""
    if "main_file" not in item:
        return []
    size = show.size(item.get("size_bytes") or 0)
    words = (item["main_file"], size, item.get("came_from"), str(item.get("created_at") or "")[:10])
    return [str(word) for word in words if word]


def _label(item: Mapping[str, Any]) -> str:
    names = names_of(item)
    return max((name for name in names if "/" in name), key=len, default=str(item.get("name") or item.get("id")))
