"""The audit log: who changed what, from where, with which key. Rows are appended and never changed."""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from webapp.accounts.models import AuditEntry, AuditRetention, Team, User

HIDDEN = "(hidden)"
# Who did what nobody asked for at that moment, as diaries and the audit log say it.
SYSTEM = "Modelyard"
_SECRET_NAME = re.compile(
    r"(^|[_-])(password|passphrase|secret|token|digest|credentials?|authorization|api_?key)$", re.IGNORECASE
)
# API keys and playground tokens; hub tokens as Hugging Face writes them.
_SECRET_TEXT = re.compile(r"\b(my_[0-9a-f]{8})_[\w-]{20,}|\bmyp_[\w.-]+|\bhf_\w{20,}")


@dataclass
class Asker:
    """Where the request that is being answered came from."""

    address: str = ""
    request_id: str = ""
    key_prefix: str = ""


# Set by the middleware for the length of one request; empty in workers and commands.
asker: ContextVar[Asker | None] = ContextVar("modelyard_asker", default=None)


def actor_name(user: User | None) -> str:
    """Who acts, as diaries keep it: the name outlives the account."""
    return user.username if user else SYSTEM


def audit(
    user: User | None,
    team: Team | None,
    verb: str,
    subject: str,
    detail: dict[str, Any] | None = None,
    who: str = SYSTEM,
) -> None:
    """Write down who changed what, in the caller's transaction. Without a user it was `who`.

    `detail` says what changed: `difference(before, after)` where there is a before. What looks like a secret is
    hidden, by name of the field and by form of the text.
    """
    source = asker.get() or Asker()
    AuditEntry.objects.create(
        user=user,
        username=user.username if user else who,
        team=team,
        team_name=team.name if team else "",
        verb=verb,
        subject=_without_secrets(subject)[:120],
        detail=_without_secrets(detail or {}),
        key_prefix=source.key_prefix[:16],
        address=source.address[:64],
        request_id=source.request_id[:80],
    )


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What is not the same: {"role": {"before": "viewer", "after": "operator"}}."""
    return {
        name: {"before": before.get(name), "after": after.get(name)}
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    }


def trim(before: datetime) -> int:
    """Remove entries older than `before`, and write that down. The only way that rows go; returns how many went."""
    with transaction.atomic():
        pass_ = AuditRetention.objects.create(before=before)
        old = AuditEntry.objects.filter(at__lt=before)
        number: int = old._raw_delete(old.db)  # delete() is refused to everybody
        pass_.delete()
        audit(None, None, "audit.trim", "audit log", {"before": before.isoformat(), "removed": number})
    return number


def _without_secrets(value: Any, name: str = "") -> Any:
    if name and _SECRET_NAME.search(name) and isinstance(value, (str, bytes)) and value:
        return HIDDEN
    if isinstance(value, Mapping):
        if name and _SECRET_NAME.search(name):
            return dict.fromkeys(value, HIDDEN)
        return {str(key): _without_secrets(part, str(key)) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_secrets(part, name) for part in value]
    if isinstance(value, str):
        return _SECRET_TEXT.sub(lambda found: f"{found[1]}_…" if found[1] else HIDDEN, value)
    return value
