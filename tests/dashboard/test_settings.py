"""The installation's settings: for its admins alone."""

import pytest

PAGES = ["/settings/", "/settings/engines/", "/settings/about/", "/settings/master-key/"]


@pytest.mark.parametrize("url", PAGES)
@pytest.mark.parametrize("person", ["ada", "bob", "eve"])
def test_nobody_else_sees_them_or_is_led_there(db, client, request, url, person):
    client.force_login(request.getfixturevalue(person))
    assert client.get(url).status_code == 403
    assert 'href="/settings/"' not in client.get("/help/").content.decode()


def test_the_index_names_sections_that_are_there(client, root):
    client.force_login(root)
    text = client.get("/settings/").content.decode()
    assert "/settings/engines/" in text and "/settings/about/" in text


def test_the_index_leads_to_all_that_an_admin_sets(client, root):
    client.force_login(root)
    text = client.get("/settings/").content.decode()
    for page in ("/settings/sign-in/", "/people/", "/team/", "/audit/", "/models/hubs/", "/hosts/"):
        assert f'<dt><a href="{page}">' in text
        assert client.get(page).status_code == 200


def test_a_section_of_a_room_that_is_missing_is_left_out():
    from webapp.interfaces.pages.dashboard.settings_views import Section

    assert Section("nowhere:index", "Nowhere", "").url == ""


def test_engines_are_shown_with_their_images_and_what_runs(client, root, deployment, advance):
    replica = deployment.replicas.get()
    advance(replica, "placing", "starting", image="modelyard/llamacpp:cpu")
    client.force_login(root)
    text = client.get("/settings/engines/").content.decode()
    assert "llama.cpp" in text
    assert "serves 1 replica" in text


def test_about_names_every_package_with_its_licence(client, root):
    client.force_login(root)
    text = client.get("/settings/about/").content.decode()
    for name in ("Django", "celery", "Tabler", "Apache"):
        assert name in text
    assert text.count("see its files") < 8
