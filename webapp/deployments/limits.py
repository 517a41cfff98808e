"""How long the answers of a deployment may be. The gateways heed it from the next request on; no replica is touched."""

from collections.abc import Mapping

from webapp.accounts.auditing import actor_name
from webapp.accounts.models import User
from webapp.accounts.services import audit
from webapp.deployments.models import Deployment, ReplicaEvent
from webapp.deployments.spec import Change
from webapp.foundation.errors import Invalid

MOST_TOKENS = 10_000_000
LABELS = {"max_tokens_default": "Default max tokens", "max_tokens_limit": "Max tokens limit"}


def check(wanted: Mapping[str, int]) -> None:
    """Both of them, 0 for none. Raises Invalid."""
    for name in LABELS:
        if not 0 <= wanted[name] <= MOST_TOKENS:
            message = f"Between 0 and {MOST_TOKENS:,} tokens, not {wanted[name]:,}."
            raise Invalid(message, fields={name: message})
    usual, most = wanted["max_tokens_default"], wanted["max_tokens_limit"]
    if usual and most and usual > most:
        message = f"The limit is {most:,} tokens: {usual:,} cannot be the default."
        raise Invalid(message, fields={"max_tokens_default": message})


def changes(deployment: Deployment, given: Mapping[str, int | None]) -> list[Change]:
    """What would differ, in words for people. None leaves a number as it is. Raises Invalid."""
    before = {name: getattr(deployment, name) for name in LABELS}
    after = before | {name: value for name, value in given.items() if value is not None}
    check(after)
    return [
        Change(name, label, _shown(before[name]), _shown(after[name]))
        for name, label in LABELS.items()
        if before[name] != after[name]
    ]


def change(user: User | None, deployment: Deployment, given: Mapping[str, int | None]) -> None:
    """Write it down. Inside the transaction that holds the deployment. Raises Invalid."""
    found = changes(deployment, given)
    if not found:
        return
    for name, value in given.items():
        if value is not None:
            setattr(deployment, name, value)
    deployment.save(update_fields=list(LABELS))
    said = "; ".join(f"{one.label}: {one.old} → {one.new}" for one in found)
    ReplicaEvent.objects.create(deployment=deployment, text=f"set {said}"[:500], actor=actor_name(user))
    detail = {"changes": {one.name: [one.old, one.new] for one in found}}
    audit(user, deployment.team, "deployment.limits", deployment.name, detail)


def _shown(tokens: int) -> str:
    return f"{tokens:,}" if tokens else "engine default"
