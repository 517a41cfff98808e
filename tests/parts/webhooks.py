"""A receiver's check of a web call, written from the text of Standard Webhooks alone."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

TOLERANCE_S = 300


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> Any:
    """The message, when it is genuine: the secret is base64 behind "whsec_"; signed are id, timestamp and body with
    full stops between; the header holds signatures with blanks between, each behind its version."""
    headers = {name.lower(): value for name, value in headers.items()}
    message, at = headers["webhook-id"], headers["webhook-timestamp"]
    assert "." not in message and abs(time.time() - int(at)) <= TOLERANCE_S
    key = base64.b64decode(secret.split("whsec_", 1)[1], validate=True)
    assert 24 <= len(key) <= 64
    wanted = hmac.digest(key, b".".join((message.encode(), at.encode(), body)), hashlib.sha256)
    for one in headers["webhook-signature"].split(" "):
        version, _, given = one.partition(",")
        if version == "v1" and hmac.compare_digest(base64.b64decode(given, validate=True), wanted):
            return json.loads(body)
    raise AssertionError("no signature fits")
