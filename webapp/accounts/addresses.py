"""Whether an address that a provider tells may be believed, and what has to change where it may not. Pure.

OpenID Connect Core 1.0, 5.1: `email_verified` says that the provider made sure that the person has the address. Some
send it as false for everybody (Authentik), some never (Microsoft Entra ID). Believing the latter means that whoever
administers the provider decides who is who here, so an administrator must have said so. What a provider says
itself stands: an address that it calls unverified is never believed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

WHERE = "under Settings > Sign-in"
# Microsoft's word on whether the tenant has proved that the address's domain is its own.
DOMAIN_VERIFIED = "xms_edov"


class Rules(Protocol):
    """What the admin has set."""

    email_claim: str
    trusts_addresses: bool


@dataclass(frozen=True)
class Told:
    """The address in lower case, or "" with the reason and what to change, for the person who is refused."""

    address: str
    why: str = ""
    advice: str = ""


def evaluate(claims: Mapping[str, Any], rules: Rules) -> Told:
    """The address of these claims, as far as the rules let it count."""
    address = claims.get(rules.email_claim)
    if not isinstance(address, str) or "@" not in address.strip("@"):
        return _without_address(claims, rules)
    address = address.strip().lower()
    for name in ("email_verified", DOMAIN_VERIFIED):
        word = claims.get(name)
        # Microsoft writes its own as a number, too.
        if word is not None and not _is_yes(word) and not (name == DOMAIN_VERIFIED and word in (1, "1")):
            return Told(
                "",
                f"The provider says that {address} is not verified ({name}).",
                "Confirm the address at the provider, or ask those who run it: the help page Single sign-on says how.",
            )
    # It speaks of the claim `email` alone.
    is_verified = rules.email_claim == "email" and _is_yes(claims.get("email_verified"))
    if is_verified or rules.trusts_addresses:
        return Told(address)
    return Told(
        "",
        f"The provider does not say whether {address} is verified (it sends no email_verified).",
        "Some providers never do, Microsoft Entra ID among them. An administrator can trust the addresses of "
        f"this provider {WHERE}, where the help says what that means.",
    )


def _without_address(claims: Mapping[str, Any], rules: Rules) -> Told:
    sent = ", ".join(
        sorted(str(name)[:40] for name, value in claims.items() if isinstance(value, str) and "@" in value)
    )
    seen = f" Claims that hold an address: {sent}." if sent else ""
    return Told(
        "",
        f"The provider sent no address in the claim {rules.email_claim}.{seen}",
        f"Those who run the provider have it sent, or an administrator names the right claim {WHERE}.",
    )


def _is_yes(word: Any) -> bool:
    # Some providers write the boolean as a string; a number is neither.
    return word is True or word == "true"
