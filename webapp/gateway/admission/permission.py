"""Whether a running request may go on after the routing table has changed."""

import time

from webapp.gateway.http.errors import Problem
from webapp.gateway.routing.credentials import Principal
from webapp.gateway.routing.directory import Deployment, Directory


def withdrawn(principal: Principal, deployment: Deployment, directory: Directory) -> Problem | None:
    """Why it may not, or None. Looked at whenever there is a new snapshot, and for keys that end at a certain time."""
    if principal.key is not None:
        key = directory.key(principal.key)
        if key is None or not key.may_infer or key.team != principal.team:
            return Problem(401, "invalid_key", "This API key was revoked while it was being answered")
        # As it is now: a key that is rotated is told its end while it is in use.
        if key.expires_at is not None and key.expires_at <= time.time():
            return Problem(401, "expired_key", "This API key has expired while it was being answered")
    elif not directory.lets(principal.user, deployment.id):
        return Problem(401, "invalid_token", "You no longer have access to this model")
    now = directory.by_id(deployment.id)
    # One that is gone from the table is being taken down by its own rules, drain included.
    if now is not None and not now.is_for(principal.team):
        message = f"The model '{deployment.name}' is no longer shared with your team"
        return Problem(403, "grant_withdrawn", message)
    return None
