"""An installation's admin sees which master key writes, and replaces it, on the page and by the API."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from webapp.foundation import key_ring


@pytest.fixture(autouse=True)
def ring() -> Iterator[None]:
    before = key_ring.current()
    yield
    key_ring.store(before)


@pytest.mark.django_db
def test_an_admin_replaces_it_on_the_page_and_by_the_api(client: Any, root: Any, ada: Any) -> None:
    client.force_login(ada)
    assert client.post("/settings/master-key/").status_code == 403
    assert client.post("/api/v1/master-key/rotate").status_code == 404
    assert client.get("/api/v1/master-key").status_code == 404
    client.force_login(root)
    assert client.post("/settings/master-key/").status_code == 302
    told = client.post("/api/v1/master-key/rotate")
    assert told.status_code == 202
    assert [key["is_writing"] for key in told.json()["keys"]] == [True, False]
    page = client.get("/settings/master-key/").content.decode()
    assert all(key.id[:8] in page for key in key_ring.current())
    assert base64.urlsafe_b64encode(key_ring.current()[0].secret).decode() not in page
