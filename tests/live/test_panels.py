"""Lists and pages that are made of several topics."""

import asyncio

import pytest

from tests.live.scenes import run, said, stop

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_list_is_rendered_as_the_page_is_searched(listen, ada, deployment, make_deployment):
    make_deployment("other")

    async def scene():
        socket = await listen(ada, f"deployments:{deployment.team_id}", view="q%3Dother")
        await socket.connect()
        await asyncio.sleep(0.2)
        await stop(ada, deployment)
        content = (await said(socket))["content"]
        assert ">other</a>" in content
        assert ">smollm2</a>" not in content
        await socket.disconnect()

    run(scene())


def test_lists_of_two_teams_are_one_panel(listen, root, deployment, make_deployment, eve):
    make_deployment("theirs", team=eve.teams.get())
    topics = [f"deployments:{team}" for team in (deployment.team_id, eve.teams.get().pk)]

    async def scene():
        socket = await listen(root, *topics, last="7,7")
        await socket.connect()
        content = (await said(socket))["content"]
        assert content.count('<section id="deployments"') == 1
        await socket.disconnect()

    run(scene())


def test_the_home_page_is_one_panel_for_all_its_topics(listen, ada, deployment, host):
    topics = [f"deployments:{deployment.team_id}", f"jobs:{deployment.team_id}", "hosts"]

    async def scene():
        socket = await listen(ada, *topics, last="7,7,7", page="home")
        await socket.connect()
        content = (await said(socket))["content"]
        assert content.startswith('<div id="home" hx-swap-oob="outerMorph">')
        assert content.count("hx-swap-oob") == 1
        await socket.disconnect()

    run(scene())


def test_an_admin_of_a_hundred_teams_has_a_live_list_too(listen, root, deployment):
    from webapp.accounts.models import Team

    Team.objects.bulk_create(Team(name=f"t{number}", slug=f"t{number}") for number in range(100))
    topics = [f"deployments:{pk}" for pk in Team.objects.order_by("pk").values_list("pk", flat=True)]

    async def scene():
        socket = await listen(root, *topics)
        await socket.connect()
        await stop(root, deployment)
        assert 'id="deployments"' in (await said(socket))["content"]
        await socket.disconnect()

    run(scene())
