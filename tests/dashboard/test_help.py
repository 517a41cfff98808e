"""Help pages: they render, they are found, they lead somewhere, and every room has one."""

import re

import pytest
from django.urls import Resolver404, resolve

from webapp.interfaces.pages.dashboard import help_pages


def slugs():
    return list(help_pages.pages())


def test_the_first_page_is_the_first_hour():
    assert slugs()[0] == "first-hour"


@pytest.mark.parametrize("slug", slugs())
def test_a_page_has_a_title_a_summary_and_links_that_lead_somewhere(client, ada, slug):
    page = help_pages.pages()[slug]
    assert page.title and page.summary
    client.force_login(ada)
    text = client.get(f"/help/{slug}/").content.decode()
    assert f"<h1>{page.title}</h1>" in text
    for link in re.findall(r'href="(/[^"#?]*)', page.html):
        try:
            resolve(link)
        except Resolver404:
            pytest.fail(f"{slug} links to {link}, which is not there")


@pytest.mark.parametrize("slug", slugs())
def test_every_example_is_one_that_is_run_or_says_that_it_is_text(slug):
    fences = re.findall(r"^```(\w*)$", help_pages.pages()[slug].text, re.MULTILINE)
    assert set(fences[::2]) <= {"python", "console", "yaml", "text"}
    assert set(fences[1::2]) <= {""}


def test_html_in_a_help_page_is_text():
    assert "<script>" not in help_pages.html("# T\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1))")
    assert "javascript:" not in re.sub(r"\[x\].*", "", help_pages.html("[x](javascript:alert(1))"))


def test_the_search_wants_every_word_and_puts_titles_first():
    assert "hosts" in [page.slug for page in help_pages.find(["drain"])]
    assert help_pages.find(["hosts"])[0].slug == "hosts"
    assert help_pages.find(["drain", "no-such-word"]) == []


def test_the_index_is_searched(client, ada):
    client.force_login(ada)
    text = client.get("/help/?q=userns-remap").content.decode()
    assert "/help/hosts/" in text and "/help/jobs/" not in text
    assert "No help results for" in client.get("/help/?q=zzzz").content.decode()


def test_a_page_that_is_not_written_is_a_404(client, ada):
    client.force_login(ada)
    assert client.get("/help/nothing-of-that-name/").status_code == 404


@pytest.mark.parametrize(
    ("url", "slug"),
    [("/", "first-hour"), ("/deployments/", "deployments"), ("/models/", "models"), ("/hosts/", "hosts"),
     ("/jobs/", "jobs"), ("/keys/", "keys-and-teams"), ("/playground/", "playground")],
)  # fmt: skip
def test_every_room_leads_to_its_page(client, ada, url, slug):
    client.force_login(ada)
    assert f'href="/help/{slug}/"' in client.get(url).content.decode()


@pytest.mark.parametrize(
    ("word", "slug"),
    [("mirror", "models"), ("proxy", "models"), ("HF_ENDPOINT", "models"), ("two-factor", "keys-and-teams"),
     ("passkey", "keys-and-teams"), ("SOCKS", "models"), ("ModelScope", "models"), ("SMS", "keys-and-teams"),
     ("context trained", "deployments"), ("docker ps", "deployments")],
)  # fmt: skip
def test_what_people_ask_for_has_an_answer(word, slug):
    assert slug in [page.slug for page in help_pages.find(word.split())]
