"""Pages and searches, the same for every list."""

import pytest

pytestmark = pytest.mark.django_db


def test_a_list_is_searched_by_every_word_in_any_of_its_fields(as_caller, ada, make_deployment):
    for name in ("chat-small", "chat-large", "code"):
        make_deployment(name)
    client = as_caller(ada)

    def names(q):
        found = client.get("/api/v1/deployments", {"q": q}).json()
        assert found["count"] == len(found["items"])
        return [one["name"] for one in found["items"]]

    assert names("CHAT") == ["chat-large", "chat-small"]
    assert names("large chat research") == ["chat-large"]
    assert len(names("smollm2")) == 3
    assert names("nothing like it") == []
    assert names("%") == []


def test_a_search_finds_nothing_of_others(as_caller, eve, deployment):
    assert as_caller(eve).get("/api/v1/deployments", {"q": deployment.name}).json() == {"items": [], "count": 0}


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 501}, {"offset": -1}, {"offset": 10**8}, {"q": "x" * 101}])
def test_what_no_page_can_be_is_refused(as_caller, ada, query):
    assert as_caller(ada).get("/api/v1/deployments", query).status_code == 422
