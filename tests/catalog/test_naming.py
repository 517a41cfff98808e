"""Files of one name are told apart wherever one of them is chosen."""

import re

import pytest
from django.urls import reverse

from webapp.catalog import naming
from webapp.catalog.models import Artifact, ArtifactCopy, CopyState

pytestmark = pytest.mark.django_db

SOURCES = (
    {"kind": "hub", "repo": "org/SmolLM2-GGUF", "commit": "0123456789abcdef"},
    {"kind": "url", "url": "https://files.example/a/b.gguf"},
    {"kind": "path", "path": "/srv/models/smollm2"},
    {"kind": "made"},
    {"kind": "made"},
)


@pytest.fixture
def alike(artifact, host):
    """Five files called as the usual one, and one that is called like nothing else."""
    rows = [
        Artifact.objects.create(
            catalog_model=artifact.catalog_model, format="gguf", quantisation="Q8_0", main_file="m-q8_0.gguf",
            size_bytes=3 * 2**30, source=source, origin=str(number),
        )
        for number, source in enumerate(SOURCES)
    ]  # fmt: skip
    rows.append(
        Artifact.objects.create(catalog_model=artifact.catalog_model, format="gguf", quantisation="Q4_0", main_file="m")
    )
    for row in rows:
        ArtifactCopy.objects.create(artifact=row, host=host, state=CopyState.PRESENT)
    return rows


def test_what_is_called_the_same_is_told_apart_and_nothing_else(alike, artifact, django_assert_num_queries):
    rows = list(Artifact.objects.select_related("catalog_model").order_by("pk"))
    with django_assert_num_queries(1):
        found = naming.labels(rows, Artifact.objects.all())
    day = rows[0].created_at.date().isoformat()
    name = "SmolLM2 135M Instruct Q8_0"
    assert found[1] == f"{name} · m-q8_0.gguf · 3.0 GiB · org/SmolLM2-GGUF@0123456 · {day}"
    assert "files.example" in found[2] and "/srv/models/smollm2" in found[3]
    assert found[4].endswith(f"made here · {day} · #{rows[4].pk}") and found[5].endswith(f"#{rows[5].pk}")
    assert found[6] == "SmolLM2 135M Instruct Q4_0"
    assert len(set(found)) == 7


def test_one_that_stands_alone_in_the_list_is_told_apart_from_those_behind_it(alike, artifact):
    (label,) = naming.labels([artifact], Artifact.objects.all())
    assert "138.1 MiB" in label


@pytest.mark.parametrize("page", ["deployments:new", "schedules:new"])
def test_no_two_options_of_a_page_are_called_the_same(client, ada, team, alike, page):
    client.force_login(ada)
    text = client.get(reverse(page)).content.decode()
    options = re.findall(
        r"<option[^>]*>([^<]*)</option>", text[text.index('name="artifact"') :].partition("</select>")[0]
    )
    assert len(options) == 8 and len(set(options)) == 8


def test_the_api_says_in_a_few_words_where_files_came_from(client, ada, alike):
    client.force_login(ada)
    found = client.get("/api/v1/artifacts").json()["items"]
    assert {one["came_from"] for one in found} >= {"org/SmolLM2-GGUF@0123456", "files.example", "made here"}


def test_the_command_line_lists_what_tells_them_apart():
    from webapp.interfaces.cli import lookup
    from webapp.interfaces.cli.errors import Usage

    items = [
        {"id": number, "model": "m", "quantisation": "Q4_1", "main_file": file, "size_bytes": 2**20 * number,
         "came_from": "org/m@0123456", "created_at": "2026-11-30T12:00:00Z"}
        for number, file in ((1, "a.gguf"), (2, "b.gguf"))
    ]  # fmt: skip
    with pytest.raises(Usage) as refused:
        lookup.identity("m/Q4_1", "/artifacts", lambda path: items)
    lines = str(refused.value).splitlines()
    assert lines[1] == "  1  m/Q4_1  a.gguf  1.0 MiB  org/m@0123456  2026-11-30"
    assert "b.gguf  2.0 MiB" in lines[2]
