"""Five-minute tokens that web signs so that a signed-in page may call /v1 without an API key."""

import base64
import binascii
import hmac

import msgspec

PREFIX = b"myp_"


class Claims(msgspec.Struct, frozen=True):
    """`exp` is unix seconds; `deployments` are the only ones this token may use."""

    user: int
    team: int
    deployments: list[int]
    exp: float


def verify(token: bytes, secret: bytes, now: float) -> Claims | None:
    """The claims of a token we signed that has not expired, else None. The signature is checked first."""
    payload, _, signature = token[len(PREFIX) :].partition(b".")
    if not secret or not payload or not signature:
        return None
    expected = base64.urlsafe_b64encode(hmac.digest(secret, payload, "sha256")).rstrip(b"=")
    if not hmac.compare_digest(expected, signature):
        return None
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)), type=Claims)
    except (binascii.Error, msgspec.MsgspecError):
        return None
    return claims if claims.exp > now else None
