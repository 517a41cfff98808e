"""Named sets of options to begin with: those that engines bring along, and those that teams keep."""

from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction

from webapp import engines
from webapp.accounts.auditing import actor_name
from webapp.accounts.models import Role, Team, User
from webapp.accounts.services import audit, require
from webapp.deployments.models import OptionPreset
from webapp.deployments.services import checked_options
from webapp.foundation.errors import Conflict, Invalid

MAX_PER_TEAM = 100


@dataclass(frozen=True)
class Preset:
    """`key` names it in forms and addresses: `ours:llamacpp:chat` or `team:12`."""

    key: str
    engine: str
    name: str
    about: str
    options: dict[str, Any]
    team: str = ""


def ours() -> list[Preset]:
    """Those that engines bring along."""
    return [
        Preset(f"ours:{engine.name}:{each.key}", engine.name, each.name, each.about, dict(each.options))
        for engine in engines.all()
        for each in engine.presets
    ]


def available(user: User, engine: str | None = None) -> list[Preset]:
    """Ours, then those of the person's teams."""
    kept = OptionPreset.objects.visible_to(user).select_related("team").order_by("name", "id")
    own = [shown(row) for row in kept]
    return [preset for preset in (*ours(), *own) if engine in (None, preset.engine)]


def shown(row: OptionPreset) -> Preset:
    """A team's preset beside ours."""
    return Preset(f"team:{row.pk}", row.engine, row.name, f"Of team {row.team.name}.", row.options, row.team.slug)


def save(user: User | None, team: Team, engine: str, name: str, options: dict[str, Any]) -> OptionPreset:
    """Keep these options under a name, for everybody on the team."""
    require(user, team, Role.OPERATOR)
    name = name.strip()
    if not 1 <= len(name) <= 60:
        message = "A preset needs a name of 1 to 60 characters."
        raise Invalid(message, fields={"name": message})
    checked = checked_options(engine, options)
    with transaction.atomic():
        if team.option_presets.count() >= MAX_PER_TEAM:
            raise Conflict(f"The team keeps {MAX_PER_TEAM} presets already.", "Delete one first.")
        try:
            with transaction.atomic():
                kept = OptionPreset.objects.create(
                    team=team, engine=engine, name=name, options=checked, actor=actor_name(user)
                )
        except IntegrityError as error:
            message = f"The team has a preset named {name} already."
            raise Conflict(message, "Choose another name.", fields={"name": message}) from error
        audit(user, team, "preset.create", name, {"engine": engine, "options": checked})
    return kept


def delete(user: User | None, preset: OptionPreset) -> None:
    """Delete it. Deployments that began with it stay as they are."""
    require(user, preset.team, Role.OPERATOR)
    with transaction.atomic():
        if OptionPreset.objects.filter(pk=preset.pk).delete()[0]:
            audit(user, preset.team, "preset.delete", preset.name)
