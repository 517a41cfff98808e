"""Whose account at which provider: a subject is unique within its issuer alone (OpenID Connect Core 1.0, 2 and 5.7)."""

import hashlib
import json

# The claim of our own that allauth takes for the account's id.
KEY = "modelyard_account"


def account_key(issuer: str, subject: str) -> str:
    """The id that an account is stored under, of one length whatever the provider says."""
    return hashlib.sha256(json.dumps([issuer, subject]).encode()).hexdigest()
