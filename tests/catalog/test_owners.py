"""Artifacts, texts and prompts have an owner: who may see, use, change and share them, and what stays hidden."""

import pytest

from tests.catalog.gguf_file import write_gguf
from webapp.accounts import ownership, teams
from webapp.accounts.models import AuditEntry, Membership, Team
from webapp.catalog import services
from webapp.catalog.inspecting import inspect_path
from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel, Hub
from webapp.deployments import disk
from webapp.deployments import services as deployments
from webapp.deployments.spec import DeploymentPatch, DeploymentSpec
from webapp.foundation.errors import Conflict, Invalid, NotAllowed
from webapp.inventory.models import Host
from webapp.jobs import deleting, fetching
from webapp.jobs import services as jobs
from webapp.quantisation.models import CalibrationSet, Measurement, PromptSet

pytestmark = pytest.mark.django_db


@pytest.fixture
def strangers(eve):
    return eve.teams.get()


@pytest.fixture
def private(artifact):
    """The artifact as its team has it alone."""
    Artifact.objects.update(is_shared=False)
    artifact.refresh_from_db()
    return artifact


@pytest.fixture
def items(private, team):
    """One of everything that a team owns."""
    text = CalibrationSet.objects.create(team=team, name="ours", text="x", sha256="0" * 64, size_bytes=1)
    return [private, text, PromptSet.objects.create(team=team, name="golden", prompts=[], sha256="0" * 64)]


def seen(item, user):
    return type(item).objects.visible_to(user).filter(pk=item.pk).exists()


def test_what_a_team_owns_is_seen_by_it_alone_until_it_is_granted(items, ada, bob, eve, root, strangers):
    for item in items:
        assert [seen(item, person) for person in (ada, bob, eve, root)] == [True, True, False, True]
        ownership.grant(bob, item, "strangers")
        assert seen(item, eve) and type(item).objects.open_to([strangers]).get() == item
        ownership.withdraw(bob, item, strangers)
        assert not seen(item, eve)


def test_sharing_with_everybody_reaches_every_team_and_can_be_taken_back(items, ada, eve):
    for item in items:
        ownership.share(ada, item)
        assert seen(item, eve)
        ownership.unshare(ada, item)
        assert not seen(item, eve)


def test_whoever_may_only_use_it_changes_nothing(items, ada, eve, strangers):
    for item in items:
        ownership.grant(ada, item, "strangers")
        for verb in (
            lambda item=item: ownership.share(eve, item),
            lambda item=item: ownership.unshare(eve, item),
            lambda item=item: ownership.grant(eve, item, "strangers"),
            lambda item=item: ownership.withdraw(eve, item, strangers),
            lambda item=item: ownership.move(eve, item, "strangers"),
        ):
            with pytest.raises(NotAllowed):
                verb()
    with pytest.raises(NotAllowed):
        deleting.delete_artifact(eve, strangers, items[0])


def test_it_moves_to_a_team_that_one_acts_for_too_and_both_logs_tell(items, ada, eve, root, team, strangers):
    for item in items:
        with pytest.raises(NotAllowed):
            ownership.move(ada, item, "strangers")
        ownership.grant(ada, item, "strangers")
        ownership.move(root, item, "strangers")
        assert (seen(item, ada), seen(item, eve), item.grants.count()) == (False, True, 0)
        told = AuditEntry.objects.filter(verb=f"{item.audited_as}.move")
        assert {entry.team for entry in told} == {team, strangers}


def test_a_name_that_the_other_team_has_already_does_not_move(items, root, strangers):
    CalibrationSet.objects.create(team=strangers, name="ours", text="x", sha256="0" * 64, size_bytes=1)
    with pytest.raises(Conflict, match="one like it"):
        ownership.move(root, items[1], "strangers")
    items[1].refresh_from_db()
    assert items[1].team.slug == "research"


def test_each_change_of_who_may_use_it_is_written_down(private, ada, strangers):
    ownership.grant(ada, private, "strangers")
    ownership.grant(ada, private, "strangers")
    ownership.withdraw(ada, private, strangers)
    ownership.share(ada, private)
    ownership.unshare(ada, private)
    told = AuditEntry.objects.filter(verb__startswith="artifact.").order_by("pk").values_list("verb", flat=True)
    assert list(told) == ["artifact.grant", "artifact.withdraw", "artifact.share", "artifact.unshare"]


@pytest.mark.parametrize("slug", ["research", "nobody"])
def test_it_is_granted_to_another_team_that_there_is(private, ada, slug):
    with pytest.raises(Invalid):
        ownership.grant(ada, private, slug)


def test_what_is_the_installations_own_is_everybodys_to_use_and_its_admins_to_change(private, ada, eve, root):
    Artifact.objects.update(team=None)
    private.refresh_from_db()
    assert seen(private, eve)
    for person, verb in ((ada, ownership.share), (ada, lambda user, item: ownership.move(user, item, "research"))):
        with pytest.raises(NotAllowed):
            verb(person, private)
    with pytest.raises(Conflict, match="belongs to no team"):
        ownership.unshare(root, private)
    ownership.move(root, private, "research")
    assert not seen(private, eve)


def test_the_same_files_fetched_by_a_team_that_may_not_use_them_are_its_own(import_dir, team, strangers, ada, eve):
    """Nothing tells the second team that the first has them: neither the row nor the model's words."""
    inspected = inspect_path(write_gguf(import_dir / "twice.gguf"))
    first = services.add_artifact(team, inspected, "Secret Name")
    second = services.add_artifact(strangers, inspected, "secret name")
    assert first.pk != second.pk and first.catalog_model != second.catalog_model
    assert second.catalog_model.name == "secret name"
    assert [row.name for row in CatalogModel.objects.for_list(eve)] == ["secret name"]
    assert [row.file_count for row in CatalogModel.objects.for_list(ada)] == [1]
    assert services.add_artifact(strangers, inspected, "Secret name") == second


def test_files_that_are_shared_are_not_fetched_twice(import_dir, team, strangers, ada):
    inspected = inspect_path(write_gguf(import_dir / "shared.gguf"))
    first = services.add_artifact(team, inspected)
    ownership.grant(ada, first, "strangers")
    assert services.add_artifact(strangers, inspected) == first


def test_a_grant_hands_on_no_token_and_no_secret_address(private, ada, eve, team, strangers, host):
    hub = Hub.objects.create(name="gated", endpoint="https://hub.example")
    hub.teams.add(team)
    ownership.grant(ada, private, "strangers")
    far = Host.objects.create(name="far", endpoint="unix:///far.sock", state="online")
    for source in ({"kind": "hub", "hub": hub.pk, "repo": "x/y"}, {"kind": "url", "url": "u", "sealed_url": "s"}):
        Artifact.objects.update(source=source)
        private.refresh_from_db()
        with pytest.raises(Conflict, match="Ask the team that owns it"):
            fetching.to_host(eve, strangers, private, far)
    assert not ArtifactCopy.objects.filter(host=far).exists()


def test_another_teams_running_job_is_not_handed_out(artifact, ada, eve, team, strangers, host):
    jobs.queue_fetch(ada, team, artifact, host, {})
    with pytest.raises(Conflict, match="Another team's job"):
        jobs.queue_fetch(eve, strangers, artifact, host, {})


def test_a_deployment_uses_only_what_its_team_may_use(private, ada, eve, strangers):
    with pytest.raises(Conflict, match="is not shared with team Strangers"):
        deployments.create(eve, strangers, DeploymentSpec("x", artifact=private))
    ownership.grant(ada, private, "strangers")
    made = deployments.create(eve, strangers, DeploymentSpec("x", artifact=private))
    ownership.withdraw(ada, private, strangers)
    for verb in (
        lambda: deployments.start(eve, made),
        lambda: deployments.restart(eve, made),
        lambda: deployments.scale(eve, made, 3),
        lambda: deployments.edit(eve, made, DeploymentPatch({"options": {"context_length": 512}})),
    ):
        with pytest.raises(Conflict, match="is not shared"):
            verb()
    deployments.scale(eve, made, 0)
    deployments.stop(eve, made)


def test_of_a_hosts_disk_others_see_numbers_only(private, ada, eve, host):
    [own], [others] = (disk.by_host(person, Host.objects.all()) for person in (ada, eve))
    assert (len(own.held), own.others_copies) == (1, 0)
    assert (others.held, others.others_copies, others.others_bytes) == ((), 1, private.size_bytes)
    assert own.models_bytes == others.models_bytes


def test_what_another_team_measured_of_shared_files_is_that_teams(artifact, ada, eve, strangers):
    about = {"artifact": artifact, "text_sha256": "0" * 64}
    with_it = Measurement.objects.create(text_name="ours", **about)
    theirs = Measurement.objects.create(text_name="their secret text", team=strangers, **about)
    assert list(Measurement.objects.for_list(ada)) == [with_it]
    assert set(Measurement.objects.for_list(eve)) == {with_it, theirs}
    Artifact.objects.update(is_shared=False)
    assert not Measurement.objects.for_list(eve).exists()


def test_a_team_is_not_deleted_while_a_hub_is_its_alone(root):
    """Of no team at all a hub is every team's, with its token."""
    lab = Team.objects.create(name="Lab", slug="lab")
    hub = Hub.objects.create(name="gated", endpoint="https://hub.example")
    hub.teams.add(lab)
    with pytest.raises(Conflict, match="still owns 1 hub"):
        teams.delete_team(root, lab)
    hub.teams.add(Team.objects.create(name="Other", slug="other"))
    teams.delete_team(root, lab)
    assert [one.slug for one in hub.teams.all()] == ["other"]


def test_what_was_granted_to_a_team_keeps_nobody_from_deleting_it(items, ada, root, deployment):
    from webapp.deployments import sharing

    lab = Team.objects.create(name="Lab", slug="lab")
    Membership.objects.create(team=lab, user=ada, role="viewer")
    for item in items:
        ownership.grant(ada, item, "lab")
    sharing.grant(ada, deployment, "lab")
    teams.delete_team(root, lab)
    assert not Team.objects.filter(slug="lab").exists()


def test_what_was_given_away_meanwhile_is_not_given_away_again(items, root, team, strangers):
    other = Team.objects.create(name="Other", slug="other")
    for item in items:
        stale = type(item).objects.select_related("team").get(pk=item.pk)
        ownership.move(root, item, "strangers")
        with pytest.raises(Conflict, match="another owner meanwhile"):
            ownership.move(root, stale, other.slug)
        item.refresh_from_db()
        assert item.team == strangers and stale.team == team
