"""What an admin of the installation changes about a host: drain, labels, price, reserve, who may use it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from django.db import transaction

from webapp.accounts.models import Team, User
from webapp.accounts.services import audit
from webapp.foundation.errors import Invalid, NotAllowed
from webapp.foundation.events import services as events
from webapp.inventory import labels, services
from webapp.inventory.models import Host, HostGrant, HostQuerySet

MAX_LABELS = 20


class Unset:
    """Stays as it is."""


UNSET = Unset()


@dataclass(frozen=True)
class HostChange:
    """What shall be different; what is not named stays. `teams` are those that may use a host that is not shared."""

    is_drained: bool | Unset = UNSET
    labels: Sequence[str] | Unset = UNSET
    price_per_hour: Decimal | Unset | None = UNSET
    system_reserved_bytes: int | Unset | None = UNSET
    is_shared: bool | Unset = UNSET
    teams: Sequence[Team] | Unset = UNSET

    def named(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if not isinstance(value, Unset)}


def hosts_for(team: Team | None) -> HostQuerySet:
    """The hosts on which this team's deployments and jobs may be placed; all of them for Modelyard itself."""
    rows = HostQuerySet(Host)
    return rows if team is None else rows.open_to([team])


def change_host(by: User | None, host: Host, change: HostChange) -> Host:
    """Make the change in one transaction. What runs on the host goes on, also where a team loses it.

    Raises NotAllowed for anybody but an admin of the installation, and Invalid.
    """
    if by is not None and not by.is_superuser:
        raise NotAllowed("Only an administrator can change a host.")
    wanted = change.named()
    if not wanted:
        return host
    if "labels" in wanted:
        wanted["labels"] = list(labels.checked(wanted["labels"], MAX_LABELS, "labels", known=host.labels))
    _check_numbers(host, wanted)
    with transaction.atomic():
        row = Host.objects.select_for_update().get(pk=host.pk)
        before = _shown(row)
        teams = wanted.pop("teams", None)
        for name, value in wanted.items():
            setattr(row, name, value)
        row.usable_bytes = services.usable_bytes(row)
        if _shown(row) != before:
            row.save(update_fields=[*wanted, "usable_bytes"])
        if teams is not None:
            _grant(row, teams)
        after = _shown(row)
        changed = {name: value for name, value in after.items() if before[name] != value}
        if changed:
            audit(by, None, "host.change", row.name, changed)
            services.record_event(row.pk, _in_words(changed), by)
            events.publish("hosts", f"host:{row.pk}")
    return row


def set_drained(by: User | None, host: Host, drained: bool) -> None:
    """Take a host out of (or back into) placement. What runs there goes on."""
    change_host(by, host, HostChange(is_drained=drained))


def _grant(host: Host, teams: Sequence[Team]) -> None:
    HostGrant.objects.filter(host=host).exclude(team__in=teams).delete()
    for team in teams:
        HostGrant.objects.get_or_create(host=host, team=team)


def _shown(host: Host) -> dict[str, Any]:
    """The host's changeable facts as the events and the audit log tell them."""
    price = host.price_per_hour
    return {
        "drained": host.is_drained,
        "labels": list(host.labels),
        "price per hour": None if price is None else f"{price.normalize():f}",
        "reserved bytes": host.system_reserved_bytes,
        "shared": host.is_shared,
        "teams": sorted(host.grants.values_list("team__slug", flat=True)),
    }


def _in_words(changed: dict[str, Any]) -> str:
    def word(value: Any) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, list):
            return ", ".join(value) or "none"
        return "default" if value is None else str(value)

    return "; ".join(f"{name}: {word(value)}" for name, value in changed.items())


def _check_numbers(host: Host, wanted: dict[str, Any]) -> None:
    price, reserved = wanted.get("price_per_hour"), wanted.get("system_reserved_bytes")
    if price is not None and not (0 <= price < 1_000_000):
        raise Invalid("The price must be between 0 and 999999.", fields={"price_per_hour": "must be 0 to 999999"})
    if reserved is not None and not (0 <= reserved <= host.memory_bytes):
        message = f"Reserve between 0 and the {host.memory_bytes / services.GIB:.1f} GiB that the host has."
        raise Invalid(message, fields={"system_reserved_bytes": message})
