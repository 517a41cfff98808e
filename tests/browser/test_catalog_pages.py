"""The catalogue in the browser: from a search to a repository's variants, in every look."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_pages import LOOKS, TOO_WIDE
from tests.catalog.gguf_file import gguf_bytes
from tests.parts.hub import running_hub

pytestmark = pytest.mark.browser

HUB = """
from webapp.catalog.models import Hub
hub, _new = Hub.objects.update_or_create(name="Hugging Face", defaults={{"endpoint": {url!r}, "allows_private": True}})
result = hub.pk
"""


@pytest.fixture(scope="module")
def hub(site):
    with running_hub() as running:
        files = {f"Tiny-{kind}.gguf": gguf_bytes() for kind in ("Q4_K_M", "Q8_0", "BF16-00001-of-00002")}
        running.add("org/Tiny-1B-Instruct-GGUF", {**files, "old.bin": b"x"})
        running.add("meta/Tiny-gated", {"Tiny-Q8_0.gguf": gguf_bytes()}, gated="manual")
        yield site.do(HUB.format(url=running.url))


@pytest.mark.parametrize("look", LOOKS)
def test_the_catalogues_pages_in_every_look(open_page, hub, shoot, look):
    page = open_page("/", **LOOKS[look])
    pages = {
        "models-hubs": "/models/?q=tiny&hubs=1",
        "models-known": "/models/?q=llama",
        "repo": f"/models/hubs/{hub}/repo/?name=org/Tiny-1B-Instruct-GGUF",
        "repo-gated": f"/models/hubs/{hub}/repo/?name=meta/Tiny-gated",
        "disk": "/models/disk/",
        "hubs": "/models/hubs/",
        "images": "/models/images/",
        "hub-new": "/models/hubs/new/",
        "address": "/models/address/",
        "delete": "/models/artifacts/1/delete/",
    }
    for name, path in pages.items():
        page.goto(path)
        assert page.evaluate(TOO_WIDE) == [], f"{name} is too wide"
        shoot(page, f"{name}-{look}")


def test_from_a_search_to_the_variants(open_page, hub):
    page = open_page("/models/")
    page.locator("#search").fill("tiny")
    page.get_by_role("button", name="Search hubs").click()
    page.get_by_role("link", name="org/Tiny-1B-Instruct-GGUF").click()
    expect(page.get_by_role("row", name="Q4_K_M")).to_contain_text("Download")
    expect(page.get_by_text("Part 2 of 2 is missing.")).to_be_visible()
