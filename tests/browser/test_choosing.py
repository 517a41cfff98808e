"""Choosing what to deploy in a real browser: the engine follows the files, a long list narrows while one types."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

FILL = """
from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel
from webapp.inventory.models import Host
host = Host.objects.first()
for number in range(60):
    model = CatalogModel.objects.create(name=f"zz straw {number:02}", slug=f"zz-{number}")
    files = {"format": "safetensors", "main_file": "config.json"} if number == 42 else {"format": "gguf"}
    artifact = Artifact.objects.create(catalog_model=model, **files)
    ArtifactCopy.objects.create(artifact=artifact, host=host, state="present")
"""
EMPTY = """
from webapp.catalog.models import Artifact, CatalogModel
Artifact.objects.filter(catalog_model__slug__startswith="zz-").delete()
CatalogModel.objects.filter(slug__startswith="zz-").delete()
"""


@pytest.fixture
def many(site):
    site.do(FILL)
    yield
    site.do(EMPTY)


def test_the_list_narrows_while_one_types_and_the_engine_follows_the_choice(open_page, many):
    page = open_page("/deployments/new/")
    models = page.locator("#id_artifact")
    expect(models.locator("option")).to_have_count(51)
    page.locator("#id_name").fill("typed-before")
    page.get_by_label("Search models").fill("straw 42")
    expect(models.locator("option", has_text="zz straw 42")).to_have_count(1)
    expect(models.locator("option")).to_have_count(3)
    page.get_by_label("Search models").press("Enter")
    expect(models).to_be_focused()
    models.select_option(label="zz straw 42 (safetensors)")
    engine = page.locator("#id_engine")
    expect(engine.locator("option")).to_have_text(["vLLM"])
    expect(page.get_by_label("KV cache (GiB)")).to_be_attached()
    expect(page.locator("#id_name")).to_have_value("typed-before")
    assert models.evaluate("select => select.selectedOptions[0].textContent") == "zz straw 42 (safetensors)"
