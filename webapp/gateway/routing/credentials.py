"""Which credential a request carries, and whom it stands for. One decision, whatever the header."""

import hmac
import time
from hashlib import sha256
from typing import NamedTuple, Protocol

from webapp.foundation.secret_store import derive_each
from webapp.gateway.http.errors import Problem
from webapp.gateway.http.seen_credential import SeenCredential
from webapp.gateway.routing import playground_tokens

_CHALLENGE = b'www-authenticate: Bearer realm="modelyard"\r\n'
_MAX_CREDENTIAL_BYTES = 4096


class Principal(NamedTuple):
    """Who asks. `key` is None for a playground token, whose `deployments` bound what it may use (None: no bound)."""

    key: int | None
    user: int
    team: int
    may_infer: bool
    expires_at: float | None
    deployments: frozenset[int] | None = None


def presented(fields: dict[bytes, bytes]) -> bytes:
    """The one credential in the headers; raises Problem 401 for none, two different ones, or another scheme."""
    authorization = fields.get(b"authorization")
    credential = b"" if authorization is None else _bearer(authorization)
    for name in (b"x-api-key", b"api-key"):
        value = fields.get(name)
        if value is not None:
            value = value.strip()
            if credential and not hmac.compare_digest(credential, value):
                raise _refused("conflicting_credentials", "Conflicting credentials: send only one API key header")
            credential = value
    if not credential:
        raise _refused("missing_key", "No API key was sent: use the header 'Authorization: Bearer <key>'")
    if len(credential) > _MAX_CREDENTIAL_BYTES:
        raise _refused("invalid_key", "Invalid API key")
    return credential


class Knows(Protocol):
    """The part of the directory that says who is who."""

    keys: dict[bytes, Principal]

    def lets(self, user: int, deployment: int) -> bool: ...


def authenticate(fields: dict[bytes, bytes], known: Knows, seen: SeenCredential) -> Principal:
    """Whom the request speaks for; raises Problem 401 or 403."""
    authorization = fields.get(b"authorization")
    if authorization == seen.authorization and b"x-api-key" not in fields and b"api-key" not in fields:
        digest = seen.digest
    else:
        credential = presented(fields)
        if credential.startswith(playground_tokens.PREFIX):
            return _from_token(credential, known)
        digest = sha256(credential).digest()
        if b"x-api-key" not in fields and b"api-key" not in fields:
            seen.authorization, seen.digest = authorization, digest
    principal = known.keys.get(digest)
    if principal is None:
        raise _refused("invalid_key", "Invalid or revoked API key: create a new one in the dashboard")
    if principal.expires_at is not None and principal.expires_at <= time.time():
        raise _refused("expired_key", "This API key has expired: create a new one in the dashboard")
    if not principal.may_infer:
        raise Problem(403, "missing_scope", "This API key does not have the scope 'inference'")
    return principal


def owner(fields: dict[bytes, bytes], known: Knows) -> Principal | None:
    """Whose key the request carries, whatever that key may do: to tell its owner why a request was refused."""
    try:
        return known.keys.get(sha256(presented(fields)).digest())
    except Problem:
        return None


def _from_token(credential: bytes, known: Knows) -> Principal:
    # One that was signed just before the master key was rotated is good until it ends.
    verified = (playground_tokens.verify(credential, secret, time.time()) for secret in derive_each("playground"))
    claims = next((found for found in verified if found is not None), None)
    if claims is None:
        raise _refused("invalid_token", "This playground token is no longer valid: reload the page")
    usable = frozenset(number for number in claims.deployments if known.lets(claims.user, number))
    if claims.deployments and not usable:
        raise _refused("invalid_token", "The user of this playground token no longer has access to the model")
    return Principal(None, claims.user, claims.team, True, claims.exp, usable)


def _bearer(authorization: bytes) -> bytes:
    scheme, _, credential = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        raise _refused("wrong_scheme", "Only 'Authorization: Bearer <key>' is understood")
    return credential.strip()


def _refused(code: str, message: str) -> Problem:
    return Problem(401, code, message, headers=_CHALLENGE)
