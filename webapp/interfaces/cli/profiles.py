"""Which Modelyard, and as whom: ~/.config/modelyard/config.toml (mode 0600), or two variables of the environment."""

import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from webapp.interfaces.cli.errors import Usage

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Profile:
    url: str
    key: str = field(default="", repr=False)


def config_file(environment: Mapping[str, str] = os.environ) -> Path:
    base = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "modelyard" / "config.toml"


def load(file: Path) -> tuple[str, dict[str, Profile]]:
    """The name of the default profile and all profiles. Raises Usage for a file that makes no sense."""
    try:
        said = tomllib.loads(file.read_text())
        profiles = {name: Profile(one["url"], one.get("key", "")) for name, one in said.get("profiles", {}).items()}
        return str(said.get("default", "")), profiles
    except FileNotFoundError:
        return "", {}
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise Usage(f"{file} cannot be read: {error}. Repair it, or delete it and run `modelyard login`.") from None


def save(file: Path, default: str, profiles: Mapping[str, Profile]) -> None:
    """Replace the file at once, readable by its owner alone. JSON strings are TOML strings."""
    lines = [f"default = {json.dumps(default)}", ""]
    for name, profile in sorted(profiles.items()):
        lines += [f"[profiles.{json.dumps(name)}]", f"url = {json.dumps(profile.url)}"]
        lines += [f"key = {json.dumps(profile.key)}", ""]
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=file.parent)  # made with mode 0600
    with os.fdopen(handle, "w") as out:
        out.write("\n".join(lines))
    Path(name).replace(file)


def choose(file: Path, wanted: str = "", url: str = "", environment: Mapping[str, str] = os.environ) -> Profile:
    """The Modelyard to speak to. What is typed wins, then MODELYARD_URL and MODELYARD_API_KEY, then the file.

    A key of the file goes to its own address only. Raises Usage for an unknown profile.
    """
    default, profiles = load(file)
    wanted = wanted or environment.get("MODELYARD_PROFILE", "")
    if wanted and wanted not in profiles:
        known = ", ".join(sorted(profiles)) or "none yet"
        raise Usage(f"There is no profile {wanted!r} (there is: {known}). Make it: modelyard login --profile {wanted}")
    chosen = profiles.get(wanted or default)
    # A profile that was asked for by name wins over the environment.
    address = url or ("" if wanted else environment.get("MODELYARD_URL", ""))
    key = environment.get("MODELYARD_API_KEY", "") if not wanted else ""
    if not address:
        address = chosen.url if chosen else DEFAULT_URL
    if not key:
        same = [one for one in (chosen, *profiles.values()) if one and checked_url(one.url) == checked_url(address)]
        key = same[0].key if same else ""
    return Profile(checked_url(address), key)


def checked_url(url: str) -> str:
    """The address without a slash at its end. Raises Usage unless it is http or https."""
    if not url.startswith(("http://", "https://")):
        raise Usage(f"{url!r} is not a URL: write http://… or https://…")
    return url.rstrip("/")
