"""What the audit log says about signing in and out. Failures are bounded: strangers must not be able to fill it."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from webapp.accounts.auditing import audit
from webapp.accounts.models import AuditEntry, User

BEGIN, END, REFUSED, LOCKED_OUT = "session.begin", "session.end", "session.refused", "session.locked-out"
# Failures that are written down per account and hour; those beside any account count as one account.
MAX_REFUSALS = 10
REFUSALS_WITHIN = timedelta(hours=1)
# No user name can look like these.
NOT_SIGNED_IN = "(not signed in)"
NO_ACCOUNT = "(no such account)"

_MEANS = {"socialaccount": "single sign-on"}


def begun(user: User, steps: Iterable[Mapping[str, Any]]) -> None:
    """Somebody has signed in, by these of allauth's records: password, a kind of second factor, single sign-on."""
    means = [step.get("type") or _MEANS.get(step["method"], step["method"]) for step in steps]
    audit(user, None, BEGIN, user.username, {"with": list(dict.fromkeys(means))})


def ended(user: User) -> None:
    audit(user, None, END, user.username)


def refused(account: User | None, reason: str, verb: str = REFUSED) -> None:
    """Somebody could not sign in to `account`; None is for names that nobody has.

    What was typed is never kept: people type passwords into the wrong field. The last entry of an hour says that more
    are not written down.
    """
    subject = account.username if account else NO_ACCOUNT
    since = timezone.now() - REFUSALS_WITHIN
    there = AuditEntry.objects.filter(verb__in=(REFUSED, LOCKED_OUT), subject=subject, at__gt=since).count()
    if there >= MAX_REFUSALS:
        return
    detail = {"reason": reason}
    if there == MAX_REFUSALS - 1:
        detail["more"] = "further ones within the hour are not written down"
    audit(None, None, verb, subject, detail, who=NOT_SIGNED_IN)


def account_of(credentials: Mapping[str, Any]) -> User | None:
    """Whose account was meant, by the user name or address that was typed."""
    name = credentials.get("username") or credentials.get("email") or ""
    if not name:
        return None
    found = list(User.objects.people().filter(Q(username__iexact=name) | Q(email__iexact=name))[:2])
    # Two people may share an address; then it is nobody's.
    return found[0] if len(found) == 1 else None
