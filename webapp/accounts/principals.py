"""The gateways' half of who may ask: keys and people, under a number of its own."""

from typing import Any

from webapp.accounts.models import ApiKey, User
from webapp.foundation.events import services as events
from webapp.foundation.events.topics import PRINCIPALS


def announce() -> None:
    """Have the gateways read keys and people again. Open pages look at their rights by themselves every 15 s."""
    events.publish(PRINCIPALS)


def build(number: int) -> dict[str, Any]:
    """All of them, in three queries whatever their number. `number` is the topic's, read before: a change that comes in
    between is then delivered twice rather than never."""
    people = User.objects.people().prefetch_related("memberships").order_by("id")
    return {
        "version": str(number),
        "keys": [_key(key) for key in ApiKey.objects.usable().order_by("id")],
        "people": [_person(person) for person in people],
    }


def _key(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.pk,
        "digest": key.digest,
        "user": key.user_id,
        "team": key.team_id,
        "scopes": key.scopes,
        "expires_at": key.expires_at.timestamp() if key.expires_at else None,
    }


def _person(person: User) -> dict[str, Any]:
    """For the tokens of open pages: who is deactivated, or has left a team, uses nothing of it any more."""
    teams = [membership.team_id for membership in person.memberships.all()] if person.is_active else []
    return {"id": person.pk, "teams": teams, "is_admin": person.is_active and person.is_superuser}
