"""Every page that a GET reaches, full of hostile text, in three looks: nothing runs, nothing leaves, nothing complains.

Per page: status 200; no console line, no violation of the content security policy, no request to elsewhere, no script
of a hostile name; sound HTML (tests/browser/markup.py says what that covers); nothing wider than the window; no serious
or critical finding of axe-core. A screenshot is kept of what is found wrong, or of every page in the folder
MODELYARD_TEST_OUTPUT.
"""

import json
import os
import re
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.browser.crawl import Frontier, patterns
from tests.browser.markup import faults
from tests.browser.site import REPOSITORY, Site

pytestmark = pytest.mark.browser

LOOKS = {
    "light": {"color_scheme": "light", "width": 1280, "height": 900},
    "dark": {"color_scheme": "dark", "width": 1280, "height": 900},
    "narrow": {"color_scheme": "light", "width": 390, "height": 844},
}
OUTPUT = Path(os.environ.get("MODELYARD_TEST_OUTPUT") or REPOSITORY / "test-output") / "every-page"

# What only a typed question leads to.
ASKED = (
    "/search/?q=script", "/search/?q=nothing-is-called-this", "/deployments/?q=nothing-is-called-this",
    "/models/?q=nothing-is-called-this", "/jobs/?q=nothing-is-called-this", "/keys/?q=nothing-is-called-this",
    "/help/?q=drain",
)  # fmt: skip

TOO_WIDE = """[...document.querySelectorAll("body *")]
    .filter((part) => part.getBoundingClientRect().right > window.innerWidth + 1)
    .filter((part) => !part.closest(".table-responsive, dialog, .skip, .visually-hidden"))
    .map((part) => `${part.tagName}.${part.className.baseVal ?? part.className}`).slice(0, 5)"""
LINKS = """[...document.querySelectorAll("a[href]")].filter((link) => link.origin === location.origin)
    .map((link) => link.pathname + link.search)"""
VIOLATIONS = """window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
    window.violations.push(`${event.violatedDirective}: ${event.blockedURI || event.sample}`);
});"""
# The rules of WCAG 2.2 A and AA and axe's best practices; only what it calls serious or critical counts.
AXE = """async () => {
    const found = await axe.run(document, { resultTypes: ["violations"], runOnly: RULES });
    return found.violations.filter((each) => ["serious", "critical"].includes(each.impact)).map((each) =>
        `${each.id}: ${each.nodes.slice(0, 3).map((node) => node.target.join(" ") + " " +
            (node.any[0]?.message ?? node.all[0]?.message ?? "")).join(" | ")}`);
}"""
ALL_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# In the dark only colours differ; on a narrow screen what scrolls, and how close together things are.
RULES = {
    "light": ALL_RULES,
    "dark": ["color-contrast", "link-in-text-block"],
    "narrow": ["scrollable-region-focusable", "target-size"],
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A site with something of every kind in it, and its samples for URL parameters."""
    site = Site(tmp_path_factory.mktemp("filled"))
    try:
        site.start()
        samples = site.do("from tests.browser import filled; result = filled.fill()")
        yield site, samples
    finally:
        site.stop()


@pytest.fixture(scope="module")
def signed_in(stack, chromium):
    site, _samples = stack
    context = chromium.new_context(base_url=site.url)
    page = context.new_page()
    page.goto("/accounts/login/")
    page.get_by_label("Username or email").fill("ada")
    page.get_by_label("Password").fill("ada-has-a-password")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(site.url + "/")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture(scope="module")
def axe():
    return (Path(find_spec("axe_playwright_python").submodule_search_locations[0]) / "axe.min.js").read_text()


class Visitor:
    """A browser context that writes down what every page it opens does wrong.

    One load per page: system colours and window size change under the open page, as they do for people.
    """

    def __init__(self, site: Site, chromium: Any, state: Any, axe: str) -> None:
        self.site, self.axe = site, axe
        # Without motion a colour is measured when it has arrived.
        self.context = chromium.new_context(base_url=site.url, storage_state=state, reduced_motion="reduce")
        self.context.add_init_script(VIOLATIONS)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.noise.append(f"error: {error}"))
        self.page.on("console", self._hear)
        self.page.on("request", self._watch)
        self.noise: list[str] = []
        self.wrong: dict[str, list[str]] = {}
        self.times: list[float] = []

    def is_page(self, path: str) -> bool:
        """Whether a GET of this address is answered with HTML; views for POST alone and downloads are not pages."""
        reply = self.context.request.get(path, max_redirects=0)
        if reply.status == 405 or reply.status in (301, 302):
            return False
        # A part that htmx asks for is HTML, too, but no page.
        return "text/html" in reply.headers.get("content-type", "") and "<html" in reply.text()

    def visit(self, path: str) -> list[str]:
        """Open, look, keep pictures; the links of the page."""
        self.noise.clear()
        self._wear("light")
        began = time.monotonic()
        reply = self.page.goto(path)
        self.times.append(time.monotonic() - began)
        found = [] if reply.status == 200 else [f"status {reply.status}"]
        if self.page.locator("#live").count():
            self.page.wait_for_selector("html[data-live=live]")
        found += [f"html: {fault}" for fault in faults(reply.text())]
        # Through the debugger: the page's own policy stays as strict as it is.
        self.page.evaluate(self.axe)
        # The same page sorted by another column looks the same.
        for look in ("light",) if "sort=" in path else LOOKS:
            found += self._look(path, look)
        found += [f"policy: {each}" for each in self.page.evaluate("window.violations")]
        found += ["a hostile name ran as a script"] if self.page.evaluate("window.hacked !== undefined") else []
        found += self.noise
        if found:
            self.wrong[path] = list(dict.fromkeys(found))
        return self.page.evaluate(LINKS)

    def _look(self, path: str, look: str) -> list[str]:
        self._wear(look)
        wide = self.page.evaluate(TOO_WIDE)
        findings = self.page.evaluate(AXE.replace("RULES", json.dumps(RULES[look])))
        if wide or findings or os.environ.get("MODELYARD_TEST_OUTPUT"):
            name = re.sub(r"[^\w-]+", "_", path.strip("/"))[:80] or "home"
            self.page.screenshot(path=OUTPUT / look / f"{name}.png", full_page=True)
        return [f"{look}: axe: {finding}" for finding in findings] + ([f"{look}: too wide: {wide}"] if wide else [])

    def _wear(self, look: str) -> None:
        chosen = LOOKS[look]
        self.page.set_viewport_size({"width": chosen["width"], "height": chosen["height"]})
        self.page.emulate_media(color_scheme=chosen["color_scheme"])

    def report(self) -> str:
        lines = [f"{path}: {each}" for path, found in self.wrong.items() for each in found]
        return f"{len(lines)} findings on {len(self.wrong)} pages:\n" + "\n".join(lines)

    def _hear(self, line: Any) -> None:
        # A page that is left at once closes a socket that was still connecting.
        if line.type in ("error", "warning") and "closed before the connection" not in line.text:
            self.noise.append(f"{line.type}: {line.text}")

    def _watch(self, request: Any) -> None:
        own = (self.site.url, self.site.url.replace("http", "ws", 1), "data:", "blob:")
        if not request.url.startswith(own):
            self.noise.append(f"elsewhere: {request.url}")


@pytest.fixture(scope="module")
def known_pages(stack, chromium, signed_in, axe):
    """Every address: the patterns filled with samples, and what the links of all pages lead to."""
    site, samples = stack
    frontier, missing = Frontier(), []
    for pattern in patterns():
        try:
            frontier.add(pattern.fill(samples))
        except KeyError as gap:
            missing.append(gap.args[0])
    assert not missing, "\n".join(missing)
    for path in ASKED:
        frontier.add(path)
    visitor = Visitor(site, chromium, signed_in, axe)
    visited = []
    for path in frontier:
        if not visitor.is_page(path):
            continue
        visited.append(path)
        for link in visitor.visit(path):
            frontier.add(link)
    visitor.context.close()
    return visited, visitor


def test_every_page_is_sound_in_every_look(known_pages):
    visited, visitor = known_pages
    print(f"{len(visited)} pages, slowest {max(visitor.times) * 1000:.0f} ms in the browser")
    assert len(visited) > 20
    assert not visitor.wrong, visitor.report()


def test_pages_before_the_sign_in_are_sound(stack, chromium, axe):
    visitor = Visitor(stack[0], chromium, None, axe)
    for path in ("/accounts/login/", "/accounts/signup/", "/accounts/password/reset/"):
        visitor.visit(path)
    visitor.context.close()
    assert not visitor.wrong, visitor.report()


def test_a_page_that_is_not_there_is_sound(stack, chromium, signed_in, axe):
    visitor = Visitor(stack[0], chromium, signed_in, axe)
    visitor.visit("/nothing-here/")
    visitor.context.close()
    left = [each for each in visitor.wrong["/nothing-here/"] if "404" not in each]
    assert not left


BAD = """<!doctype html><html lang="en"><head><title>Bad</title><style nonce="x">p { color: #ddd }</style></head><body>
<h1>Bad</h1><p style="color: #eee; background: #fff">pale</p><div><input><img src="https://evil.example/x.png" alt="x">
<table><tr><td style="padding-left: 3000px">wide</td></tr></table><script>window.hacked = 1</script></body></html>"""


@pytest.mark.parametrize("policy", ["script-src 'self'", ""])
def test_a_bad_page_is_found_out(stack, chromium, signed_in, axe, policy):
    headers = {
        "Content-Type": "text/html",
        "Content-Security-Policy": f"img-src *; style-src 'unsafe-inline'; {policy}",
    }
    visitor = Visitor(stack[0], chromium, signed_in, axe)
    visitor.context.route("**/bad/", lambda route: route.fulfill(headers=headers, body=BAD))
    visitor.visit("/bad/")
    visitor.context.close()
    said = visitor.report()
    for fault in ("html: ", "<div> is not closed", "axe: label", "axe: color-contrast", "elsewhere: ", "too wide"):
        assert fault in said
    assert ("policy: script-src" in said) is bool(policy)
    assert ("ran as a script" in said) is not bool(policy)
