"""How people sign in: whether a second factor is required, and single sign-on by OpenID Connect."""

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction
from django.http import HttpRequest

from webapp.accounts import principals, teams
from webapp.accounts.auditing import audit, difference
from webapp.accounts.models import CLIENT_SECRET, Membership, Role, SignInRule, SignInSettings, Team, User
from webapp.accounts.roles import higher, require_installation_admin
from webapp.foundation.errors import Conflict, Invalid

# Asked on every page: remembered by each process for so long.
REMEMBERED_S = 5.0
_LOCAL = {"localhost", "127.0.0.1", "::1"}

# Microsoft's issuers that speak for every tenant, or for anybody's private account: there whoever runs a tenant of
# their own writes whatever address they like into a token (known as the nOAuth attack).
_MICROSOFT = (
    "login.microsoftonline.com",
    "login.microsoftonline.us",
    "login.partner.microsoftonline.cn",
    "sts.windows.net",
)
_EVERY_TENANT = ("common", "organizations", "consumers", "9188040d-6c67-4c5b-b112-36a304b66dad")
# Providers of everybody that do say whether an address is verified: what they leave open stays open.
_OF_EVERYBODY = ("accounts.google.com", "appleid.apple.com", "gitlab.com")

_remembered: tuple[float, bool] | None = None


@dataclass(frozen=True)
class SignInSpec:
    """What the admin typed. An empty `client_secret` keeps the one there is; rules are (group, team, role)."""

    is_second_factor_required: bool = False
    is_sso_on: bool = False
    sso_name: str = ""
    issuer: str = ""
    client_id: str = ""
    client_secret: str = ""
    email_domains: tuple[str, ...] = ()
    email_claim: str = "email"
    trusts_addresses: bool = False
    makes_people: bool = False
    group_claim: str = "groups"
    rules: tuple[tuple[str, Team, Role], ...] = ()


def current() -> SignInSettings:
    """The settings as they are; defaults before anybody changed them."""
    return SignInSettings.objects.filter(only=True).first() or SignInSettings()


def is_second_factor_required() -> bool:
    """Whether everybody needs one, known for REMEMBERED_S seconds."""
    global _remembered
    now = time.monotonic()
    if _remembered is None or now - _remembered[0] > REMEMBERED_S:
        _remembered = (now, current().is_second_factor_required)
    return _remembered[1]


def lets_in(request: HttpRequest) -> bool:
    """Whether the rule about second factors lets this signed-in person go on; a socket shows a request that has a user
    and a session.

    Whom the single sign-on let in is not asked: there it is the provider's duty.
    """
    if not is_second_factor_required():
        return True
    # Imported late: these modules want the apps loaded.
    from allauth.account.internal.flows.login import get_authentication_records
    from allauth.mfa.utils import is_mfa_enabled

    if any(step.get("method") == "socialaccount" for step in get_authentication_records(request, request.user)):
        return True
    return bool(is_mfa_enabled(request.user))


def forget() -> None:
    """Read the settings anew at the next question."""
    global _remembered
    _remembered = None


def client_secret(settings: SignInSettings) -> str:
    """The secret in clear. Raises DecryptionError when the master key is another one."""
    return CLIENT_SECRET.decrypt(settings)


def configure(user: User, spec: SignInSpec) -> SignInSettings:
    """Save the settings and the rules. Raises Invalid with the field."""
    require_installation_admin(user)
    _check(spec)
    with transaction.atomic():
        settings, _is_new = SignInSettings.objects.select_for_update().get_or_create(only=True)
        before = facts(settings)
        for name in ("is_second_factor_required", "is_sso_on", "makes_people", "trusts_addresses"):
            setattr(settings, name, getattr(spec, name))
        settings.sso_name = spec.sso_name.strip()
        settings.issuer = spec.issuer.strip().rstrip("/")
        settings.client_id = spec.client_id.strip()
        settings.email_domains = sorted({domain.strip().lower().lstrip("@") for domain in spec.email_domains} - {""})
        settings.email_claim = spec.email_claim.strip() or "email"
        settings.group_claim = spec.group_claim.strip() or "groups"
        if spec.client_secret:
            settings.client_secret = CLIENT_SECRET.encrypt(settings, spec.client_secret)
        settings.save()
        SignInRule.objects.all().delete()
        SignInRule.objects.bulk_create(
            SignInRule(group=group, team=team, role=role) for group, team, role in dict.fromkeys(spec.rules)
        )
        detail = difference(before, facts(settings))
        if spec.client_secret:
            detail["secret_replaced"] = True
        audit(user, None, "sign-in.configure", "sign-in", detail)
        transaction.on_commit(forget)
    return settings


_CLAIM_NAMES = ("email_claim", "trusts_addresses", "makes_people", "group_claim")


def facts(settings: SignInSettings) -> dict[str, Any]:
    """The settings without their secret."""
    names = ("is_second_factor_required", "is_sso_on", "sso_name", "issuer", "client_id", "email_domains")
    rules = SignInRule.objects.select_related("team")
    return {
        **{name: getattr(settings, name) for name in (*names, *_CLAIM_NAMES)},
        "rules": [{"group": rule.group, "team": rule.team.slug, "role": rule.role} for rule in rules],
    }


def apply_rules(person: User, groups: list[str]) -> None:
    """Make the person's memberships by rule what the provider's groups say; those given by hand stay as they are.

    A team keeps its last admin: that is written down, and made up for at a sign-in after somebody else became one.
    """
    wanted: dict[int, Role] = {}
    for rule in SignInRule.objects.filter(group__in=groups):
        role = Role(rule.role)
        wanted[rule.team_id] = higher(role, wanted[rule.team_id]) if rule.team_id in wanted else role
    with transaction.atomic():
        present = {row.team_id: row for row in Membership.objects.filter(user=person).select_related("team", "user")}
        for team in Team.objects.filter(pk__in={*wanted, *present}).order_by("pk"):
            membership = present.get(team.pk)
            if membership is None:
                teams.join(None, team, person, wanted[team.pk], "member.add-by-rule", is_by_rule=True)
            elif membership.is_by_rule and membership.role != wanted.get(team.pk):
                _follow(membership, wanted.get(team.pk))


def _follow(membership: Membership, role: Role | None) -> None:
    """Give the member by rule another role, or none, unless that leaves the team without an admin."""
    team, person = membership.team, membership.user
    change = difference({"role": membership.role}, {"role": str(role) if role else None})
    if teams.is_last_admin(membership):
        audit(None, team, "member.last-admin-kept", person.username, change)
    elif role is None:
        teams.remove_member(None, membership, "member.remove-by-rule")
    else:
        Membership.objects.filter(pk=membership.pk).update(role=role)
        audit(None, team, "member.role-by-rule", person.username, change)
        principals.announce()


def _check(spec: SignInSpec) -> None:
    fields: dict[str, str] = {}
    if spec.is_sso_on:
        try:
            issuer = urlsplit(spec.issuer.strip())
        except ValueError:  # half of an IPv6 address
            issuer = urlsplit("")
        if not issuer.hostname or issuer.scheme not in ("https", "http") or issuer.query or issuer.fragment:
            fields["issuer"] = "The issuer's URL, for example https://login.example.org/realms/main."
        elif issuer.scheme == "http" and issuer.hostname not in _LOCAL:
            fields["issuer"] = "The issuer must use https."
        elif tenant_of(spec.issuer) in _EVERY_TENANT:
            fields["issuer"] = (
                "This issuer speaks for every tenant, so anybody with a tenant of their own could sign in under any "
                "address. Name your tenant: https://login.microsoftonline.com/<tenant id>/v2.0."
            )
        fields |= _check_addresses(spec, issuer.hostname or "")
        if not spec.client_id.strip():
            fields["client_id"] = "Client ID is required."
        if not spec.client_secret and not current().client_secret:
            fields["client_secret"] = "Client secret is required."  # noqa: S105  a message
    if len({(group, team.pk) for group, team, _role in spec.rules}) < len(spec.rules):
        fields["rules"] = "Each group can have only one role per team."
    if fields:
        raise Invalid(" ".join(fields.values()), fields=fields)
    if spec.is_second_factor_required and not _somebody_has_one() and not spec.is_sso_on:
        raise Conflict(
            "No administrator has two-factor authentication yet.",
            "Set up your own first, so that you know it works on this site.",
        )


def _check_addresses(spec: SignInSpec, provider: str) -> dict[str, str]:
    """What stands against believing the addresses as the admin wants."""
    fields: dict[str, str] = {}
    if spec.trusts_addresses and provider in _OF_EVERYBODY:
        fields["trusts_addresses"] = (
            f"{provider} says itself whether an address is verified; its others belong to anybody."
        )
    elif spec.trusts_addresses and not any(domain.strip() for domain in spec.email_domains):
        fields["email_domains"] = "Name the domains whose addresses you trust this provider with."
    if (spec.email_claim.strip() or "email") != "email" and not spec.trusts_addresses:
        fields["email_claim"] = (
            "email_verified speaks of the claim email alone: trust the addresses of this provider, too, or keep email."
        )
    return fields


def tenant_of(issuer: str) -> str:
    """The tenant in an issuer of Microsoft's, in lower case; "" for every other issuer."""
    try:
        parts = urlsplit(issuer.strip())
    except ValueError:
        return ""
    if (parts.hostname or "").lower() not in _MICROSOFT:
        return ""
    return parts.path.strip("/").partition("/")[0].lower()


def _somebody_has_one() -> bool:
    from allauth.mfa.models import Authenticator

    return bool(Authenticator.objects.filter(user__is_superuser=True).exists())
