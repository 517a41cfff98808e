"""Passkeys with Chromium's own virtual authenticator; the pages of signing in under the site's policy."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

CAROL = """
from webapp.accounts.models import Membership, Team, User
carol = User.objects.create_user("carol", email="carol@example.org", password="carol-has-a-password")
Membership.objects.create(user=carol, team=Team.objects.get(slug="research"), role="admin")
"""


@pytest.fixture
def localhost(site, chromium):
    """A browser at http://localhost, where passkeys are allowed without TLS, with an authenticator that says yes."""
    context = chromium.new_context(base_url=site.url.replace("127.0.0.1", "localhost"))
    page = context.new_page()
    complaints = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    session = context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    yield page
    context.close()
    assert not complaints


def sign_in(page, name, password):
    page.goto("/accounts/login/")
    page.get_by_label("Username or email").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def test_a_passkey_is_added_is_the_second_factor_and_signs_in_alone(site, localhost, shoot):
    site.do(CAROL)
    page = localhost
    sign_in(page, "carol", "carol-has-a-password")
    page.get_by_text("carol", exact=True).click()
    page.get_by_role("link", name="Security").click()
    expect(page.get_by_role("heading", name="Security", exact=True)).to_be_visible()
    shoot(page, "security-light")
    page.locator("a[href='/accounts/2fa/webauthn/add/']").click()
    page.get_by_label("Password").fill("carol-has-a-password")
    page.get_by_role("button", name="Continue").click()
    page.get_by_label(re.compile("sign in with it alone")).check()
    shoot(page, "passkey-add-light")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("pre")).to_contain_text(re.compile(r"\d{8}"))  # the recovery codes, made along with it
    page.goto("/accounts/2fa/webauthn/")
    expect(page.get_by_role("cell", name="passkey", exact=True)).to_be_visible()

    page.context.clear_cookies()
    sign_in(page, "carol", "carol-has-a-password")
    expect(page.get_by_role("heading", name="Two-factor authentication")).to_be_visible()
    shoot(page, "second-factor-light")
    page.get_by_role("button", name="Use a passkey or security key").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()

    page.context.clear_cookies()
    page.goto("/accounts/login/?next=/keys/")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page).to_have_url(re.compile(r"/keys/$"))


PAGES = ("/team/", "/people/", "/audit/", "/settings/sign-in/", "/keys/", "/keys/new/", "/accounts/2fa/", "/team/new/")


@pytest.mark.parametrize("look", ["light", "dark", "narrow"])
def test_the_pages_of_accounts_are_quiet_and_fit(open_page, shoot, look):
    options = {
        "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
        "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
        "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
    }[look]
    page = open_page("/team/research/", **options)
    shoot(page, f"team-research-{look}")
    for path in PAGES:
        page.goto(path)
        shoot(page, f"{path.strip('/').replace('/', '-')}-{look}")
        assert page.evaluate("document.documentElement.scrollWidth") <= options["viewport"]["width"] + 1, path


def test_inviting_somebody_who_then_joins(open_page, site, shoot):
    page = open_page("/team/research/")
    page.get_by_role("link", name="Invite").click()
    page.get_by_label("Note").fill("Dave")
    page.get_by_role("button", name="Create link").click()
    address = page.locator("#link-text").text_content()
    shoot(page, "invitation-light")
    guest = open_page(address.removeprefix(site.url), signed_in=False)
    guest.get_by_label("Username").fill("dave")
    guest.get_by_label("Password", exact=True).fill("dave-has-a-password")
    guest.get_by_label("Confirm password").fill("dave-has-a-password")
    shoot(guest, "join-light")
    guest.get_by_role("button", name="Create account and join").click()
    expect(guest.get_by_text("Welcome. You are operator in Research.")).to_be_visible()
