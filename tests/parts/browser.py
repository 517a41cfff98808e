"""Chromium as Debian ships it, quiet enough for a machine without internet."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect, sync_playwright

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# Playwright's five seconds for an expectation and thirty for everything else are too few for a machine whose cores are
# busy; what comes in time is not waited for, so only a failure takes longer.
PATIENCE_MS = 90_000


@contextmanager
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS, timeout=PATIENCE_MS)
        browser.on("context", lambda context: context.set_default_timeout(PATIENCE_MS))
        try:
            yield browser
        finally:
            browser.close()


def sign_in(browser: Browser, url: str, username: str, password: str) -> Page:
    """A page of a person who has just signed in by the form."""
    page = browser.new_page(base_url=url, viewport={"width": 1300, "height": 850})
    page.goto("/")
    page.get_by_label("Username or email").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Home").wait_for()
    return page
