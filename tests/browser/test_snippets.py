"""The code on the pages of models and deployments works as it is shown, once a key is in it."""

import os
import subprocess
import sys

import pytest

from tests.browser.test_playground import KEY

pytestmark = pytest.mark.browser

# A model's page shows code for its first deployment that is ready; those that other tests left behind have no engine.
ALONE = """
from webapp.deployments.models import Replica
Replica.objects.exclude(deployment_id={pk}).filter(state="ready").update(state="stopped")
"""


@pytest.fixture
def key(site):
    """Made before the engine's deployment, so that a gateway that knows that one knows this too."""
    return site.do(KEY)


@pytest.mark.parametrize("where", ["deployment", "model"])
def test_code_from_a_page_gets_an_answer(open_page, site, key, engine, where):
    page = open_page(f"/deployments/{engine.deployment}/")
    if where == "model":
        site.do(ALONE.format(pk=engine.deployment))
        page.locator(".status-line a").first.click()
        page.locator("#use").wait_for()
    texts = [page.locator(f"#snippet-{number}").text_content().replace("YOUR_API_KEY", key) for number in (1, 2, 3)]
    run = {"text": True, "capture_output": True, "timeout": 120, "env": {**os.environ, "NO_PROXY": "127.0.0.1"}}
    curl = subprocess.run(["bash", "-c", texts[0]], **run)
    assert "Hello there" in curl.stdout, curl.stderr
    python = subprocess.run([sys.executable, "-c", texts[1]], **run)
    assert "Hello there" in python.stdout, python.stderr
    said = page.evaluate(
        "async (code) => { const said = []; const console = { log: (text) => said.push(text) };"
        " await Object.getPrototypeOf(async () => {}).constructor('console', code)(console); return said; }",
        texts[2],
    )
    assert "Hello there" in said[0]
