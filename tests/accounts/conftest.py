"""A provider of single sign-on that really issues and signs, and settings that trust it."""

import pytest
from django.core.cache import cache

from tests.accounts.single_sign_on import CALLBACK, ZOE
from tests.parts import oidc
from webapp.accounts import sign_in
from webapp.accounts.models import Role


@pytest.fixture(scope="module")
def running():
    with oidc.provider(CALLBACK) as provider:
        yield provider


@pytest.fixture
def provider(running):
    """The provider with Zoe at the browser, telling the truth."""
    running.person, running.change_claims, running.userinfo = dict(ZOE), {}, None
    running.signing_key, running.algorithm, running.announced_issuer = running.key, "RS256", None
    cache.clear()
    return running


@pytest.fixture
def spec(provider, team):
    """The settings as an admin would type them, with changes: spec(makes_people=False)."""

    def make(**changes):
        typed = {
            "is_sso_on": True,
            "sso_name": "Example",
            "issuer": provider.issuer,
            "client_id": oidc.CLIENT_ID,
            "client_secret": oidc.CLIENT_SECRET,
            "email_domains": ("example.org",),
            "makes_people": True,
            "rules": (("ml", team, Role.OPERATOR),),
        }
        return sign_in.SignInSpec(**{**typed, **changes})

    return make


@pytest.fixture
def configured(root, spec):
    sign_in.configure(root, spec())
