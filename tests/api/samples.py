"""One object of every kind for each of two teams, and which of them a parameter of an address stands for.

A new route whose parameter is not known here fails tests/api/test_isolation.py: add the object to `Side` and the
parameter to `SAMPLES`.
"""

from dataclasses import dataclass, field
from typing import Any

# In every name of the other team, so that it is found wherever it shows.
MARK = "zebra"
ABSENT_ID = 987_654_321
ABSENT_WORD = "no-such-thing"


@dataclass
class Side:
    """One team with everything in it."""

    team: Any
    people: dict[str, Any] = field(default_factory=dict)
    member: Any = None
    artifact: Any = None
    measurement: Any = None
    deployment: Any = None
    job: Any = None
    key: Any = None
    service_key: Any = None
    invitation: Any = None
    factor: Any = None
    connection: Any = None
    preset: Any = None
    hub: Any = None
    image: Any = None
    schedule: Any = None
    run: Any = None
    target: Any = None
    text: Any = None
    prompts: Any = None


def side(name: str, host: Any) -> Side:
    """A team called `name` with a viewer, an operator, an admin, and one thing of every kind."""
    from allauth.mfa.models import Authenticator
    from allauth.socialaccount.models import SocialAccount

    from webapp.accounts import keys, links
    from webapp.accounts.models import Membership, Role, Team, User
    from webapp.catalog.models import AllowedImage, Hub
    from webapp.deployments.models import Deployment, LogChunk, OptionPreset, Replica, ReplicaEvent
    from webapp.jobs.models import Job, JobLogChunk

    made = Side(Team.objects.create(name=f"{name} team", slug=name))
    for role in Role:
        person = User.objects.create_user(f"{name}-{role}", email=f"{role}@{name}.example", password="-")
        Membership.objects.create(user=person, team=made.team, role=role)
        made.people[role.value] = person
    admin = made.people["admin"]
    artifact = made.artifact = _files(name, made.team, host)
    made.deployment = Deployment.objects.create(
        team=made.team, name=f"{name}-model", artifact=artifact, engine="llamacpp", created_by=admin
    )
    replica = Replica.objects.create(deployment=made.deployment, number=1, host=host, reason=f"{name} reason")
    ReplicaEvent.objects.create(deployment=made.deployment, text=f"{name} event", actor=admin.username)
    LogChunk.objects.create(replica=replica, generation=1, attempt=1, offset=0, text=f"{name} log\n", until="")
    made.job = Job.objects.create(
        kind="fetch",
        team=made.team,
        host=host,
        artifact=artifact,
        requested_by=admin,
        state="failed",
        reason=f"{name} job",
        subject=str(artifact),
    )
    JobLogChunk.objects.create(job=made.job, attempt=1, step=1, offset=0, text=f"{name} job log\n", until="")
    made.key = keys.create_key(admin, made.team, f"{name} key")[0]
    made.service_key = keys.create_service_key(admin, made.team, f"{name} service")[0]
    made.invitation = links.invite(admin, made.team, Role.VIEWER, f"{name} guest")[0]
    # Somebody who never comes to a page here: a made-up passkey cannot be used to sign in.
    made.member = User.objects.create_user(f"{name}-member", email=f"member@{name}.example")
    Membership.objects.create(user=made.member, team=made.team)
    made.factor = Authenticator.objects.create(user=made.member, type="webauthn", data={"name": f"{name} token"})
    made.preset = OptionPreset.objects.create(team=made.team, engine="llamacpp", name=f"{name} preset", options={})
    made.hub = Hub.objects.create(name=f"{name} hub", endpoint="https://hub.example", is_enabled=True)
    made.hub.teams.add(made.team)
    made.image = AllowedImage.objects.create(repository=f"registry.example/{len(name)}")
    _quantising(made, name, host, artifact)
    made.connection = SocialAccount.objects.create(user=made.member, provider="sso", uid=f"{name}-uid")
    return made


def _files(name: str, team: Any, host: Any) -> Any:
    """A model with one artifact, which lies on the host."""
    from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel

    model = CatalogModel.objects.create(name=f"{name} llm", slug=f"{name}-llm", architecture=f"{name}arch")
    artifact = Artifact.objects.create(
        team=team, catalog_model=model, format="gguf", quantisation="Q8_0", main_file=f"{name}.gguf", size_bytes=10,
        files=[{"name": f"{name}.gguf", "size_bytes": 10, "sha256": "ab" * 32}], origin=f"hub:1:{name}/llm@c0ffee:Q8_0",
        source={"kind": "hub", "hub": 1, "repo": f"{name}/llm", "commit": "c0ffee", "hub_name": f"{name} hub"},
    )  # fmt: skip
    ArtifactCopy.objects.create(artifact=artifact, host=host, state="present")
    return artifact


def _quantising(made: Side, name: str, host: Any, artifact: Any) -> None:
    """What a team keeps to quantise with, a schedule with a run, and who is told of it."""
    from webapp.quantisation.models import CalibrationSet, Measurement, PromptSet
    from webapp.schedules.models import Notification, Schedule, ScheduleRun, Target

    made.prompts = PromptSet.objects.create(
        team=made.team, name=f"{name} prompts", sha256="0" * 64,
        prompts=[{"prompt": f"{name} asks", "way": "contains", "expected": "x"}],
    )  # fmt: skip
    made.text = CalibrationSet.objects.create(
        team=made.team, name=f"{name} text", text=f"{name} says", sha256="0" * 64, size_bytes=10
    )
    made.measurement = Measurement.objects.create(
        artifact=artifact, job=made.job, text_name=f"{name} text", text_sha256="0" * 64, values={"perplexity": 5.0}
    )
    recipes = [{"method": "gguf", "options": {}}]
    made.schedule = Schedule.objects.create(
        team=made.team, name=f"{name} schedule", artifact=artifact, host=host, recipes=recipes, trigger="interval",
        interval_minutes=600, created_by=made.people["admin"],
    )  # fmt: skip
    made.run = ScheduleRun.objects.create(schedule=made.schedule, due_at=made.schedule.created_at, reason=f"{name} run")
    made.target = Target.objects.create(
        team=made.team, kind="webhook", address=f"https://{name}.example/hook", events=["job.failed"]
    )
    Notification.objects.create(target=made.target, event="test", key=f"{name} key", payload={"text": f"{name} text"})


@dataclass(frozen=True)
class Sample:
    """What a parameter stands for. `is_scoped`: it belongs to a team, and another team's must look like none at all."""

    value: Any
    absent: Any = ABSENT_ID
    is_scoped: bool = True


SHARED = {"is_scoped": False}

# By `<first part>/<second part> <parameter>`, else by the first part, else by the parameter alone.
SAMPLES: dict[str, Sample] = {
    "help slug": Sample(lambda side: "first-hour", ABSENT_WORD, **SHARED),
    "deployments/presets pk": Sample(lambda side: side.preset.pk),
    "preset_id": Sample(lambda side: side.preset.pk),
    # Whom a deployment is shared with: any team may be named, its own too.
    "deployments team": Sample(lambda side: side.team.pk, **SHARED),
    "deployments slug": Sample(lambda side: side.team.slug, ABSENT_WORD, **SHARED),
    "models/hubs pk": Sample(lambda side: side.hub.pk),
    "hub_id": Sample(lambda side: side.hub.pk),
    # Images that may run are everybody's to see; only the installation's admins change the list.
    "models/images pk": Sample(lambda side: side.image.pk, **SHARED),
    "image_id": Sample(lambda side: side.image.pk, **SHARED),
    "models/artifacts pk": Sample(lambda side: side.artifact.pk),
    "models/copies pk": Sample(lambda side: side.artifact.copies.get().pk),
    "charts kind": Sample(lambda side: "deployment", ABSENT_WORD, **SHARED),
    "charts pk": Sample(lambda side: side.deployment.pk),
    "person_id": Sample(lambda side: side.member.pk),
    "deployments pk": Sample(lambda side: side.deployment.pk),
    "deployment_id": Sample(lambda side: side.deployment.pk),
    "number": Sample(lambda side: 1, **SHARED),
    "revision": Sample(lambda side: 1, **SHARED),
    "schedules pk": Sample(lambda side: side.schedule.pk),
    "schedules slug": Sample(lambda side: side.team.slug, ABSENT_WORD),
    "schedule_id": Sample(lambda side: side.schedule.pk),
    "run_id": Sample(lambda side: side.run.pk),
    "target_id": Sample(lambda side: side.target.pk),
    "jobs pk": Sample(lambda side: side.job.pk),
    "job_id": Sample(lambda side: side.job.pk),
    "keys pk": Sample(lambda side: side.key.pk),
    "key_id": Sample(lambda side: side.key.pk),
    "team slug": Sample(lambda side: side.team.slug, ABSENT_WORD),
    "teams slug": Sample(lambda side: side.team.slug, ABSENT_WORD),
    "team pk": Sample(lambda side: side.invitation.pk),
    "invitation_id": Sample(lambda side: side.invitation.pk),
    "team person_id": Sample(lambda side: side.member.pk),
    "user_id": Sample(lambda side: side.member.pk),
    "people pk": Sample(lambda side: side.member.pk),
    "people person_id": Sample(lambda side: side.member.pk),
    "2fa pk": Sample(lambda side: side.factor.pk),
    "sso pk": Sample(lambda side: side.connection.pk),
    # Hosts are everybody's to see; what each room lets whom change is its own test's matter.
    "hosts pk": Sample(lambda side: side.job.host_id, **SHARED),
    "host_id": Sample(lambda side: side.job.host_id, **SHARED),
    "models slug": Sample(lambda side: side.artifact.catalog_model.slug, ABSENT_WORD),
    "quantise pk": Sample(lambda side: side.artifact.pk),
    "quantise slug": Sample(lambda side: side.artifact.catalog_model.slug, ABSENT_WORD),
    "text_id": Sample(lambda side: side.text.pk),
    "prompts_id": Sample(lambda side: side.prompts.pk),
    "artifacts item_id": Sample(lambda side: side.artifact.pk),
    # Whom it is shared with: any team may be named, its own too.
    "artifacts slug": Sample(lambda side: side.team.slug, ABSENT_WORD, **SHARED),
    "datasets item_id": Sample(lambda side: side.text.pk),
    "datasets slug": Sample(lambda side: side.team.slug, ABSENT_WORD, **SHARED),
    "golden-prompts item_id": Sample(lambda side: side.prompts.pk),
    "golden-prompts slug": Sample(lambda side: side.team.slug, ABSENT_WORD, **SHARED),
    "artifact_id": Sample(lambda side: side.artifact.pk),
    "model_id": Sample(lambda side: side.artifact.catalog_model_id),
}

# Topics of sockets: the same, by kind.
TOPICS: dict[str, Sample] = {
    "deployment": SAMPLES["deployments pk"],
    "deployments": Sample(lambda side: side.team.pk),
    "jobs": Sample(lambda side: side.team.pk),
    "job": SAMPLES["jobs pk"],
    "schedule": SAMPLES["schedules pk"],
    "schedules": Sample(lambda side: side.team.pk),
    "replica-log": Sample(lambda side: side.deployment.replicas.get().pk),
    "job-log": Sample(lambda side: side.job.pk),
    "host": SAMPLES["hosts pk"],
    "hosts": Sample(lambda side: "", **SHARED),
}

# What people might send to reach another team by something in the body: path, and the body made of the other side.
REACHES = [
    ("/api/v1/keys", lambda other: {"name": "x", "team": other.team.slug}),
    (
        "/api/v1/deployments",
        lambda other: {"name": "x", "artifact": other.job.artifact_id, "team": other.team.slug},
    ),
    (
        "/api/v1/schedules",
        lambda other: {
            "name": "x",
            "team": other.team.slug,
            "host": other.job.host_id,
            "artifact": other.job.artifact_id,
            "recipes": [{}],
            "cron": "0 2 * * *",
        },
    ),
    ("/api/v1/estimates", lambda other: {"artifact": other.artifact.pk}),
    # Their files for a deployment or a job of one's own team.
    ("/api/v1/deployments", lambda other: {"name": "x", "artifact": other.artifact.pk}),
    ("/api/v1/deployments?dry_run=true", lambda other: {"name": "x", "artifact": other.artifact.pk}),
    (
        "/api/v1/quantisations",
        lambda other: {"artifact": other.artifact.pk, "host": other.job.host_id, "recipe": {"method": "gguf"}},
    ),
    (
        "/api/v1/quantisations/preview",
        lambda other: {"artifact": other.artifact.pk, "host": other.job.host_id, "recipe": {"method": "gguf"}},
    ),
    (
        "/api/v1/schedules",
        lambda other: {
            "name": "x",
            "host": other.job.host_id,
            "artifact": other.artifact.pk,
            "recipes": [{"method": "gguf"}],
            "cron": "0 2 * * *",
        },
    ),
    (
        "/api/v1/notification-targets",
        lambda other: {
            "kind": "webhook",
            "address": "https://x.example/",
            "events": ["job.failed"],
            "team": other.team.slug,
        },
    ),
    (
        "/api/v1/imports",
        lambda other: {"source_path": "/x.gguf", "model_name": "x", "team": other.team.slug},
    ),
    (
        "/api/v1/quantisations",
        lambda other: {
            "artifact": other.job.artifact_id,
            "host": other.job.host_id,
            "team": other.team.slug,
            "recipe": {},
        },
    ),
    (
        "/api/v1/datasets",
        lambda other: {"name": "x", "text": "x" * 3000, "team": other.team.slug},
    ),
    (
        "/api/v1/golden-prompts",
        lambda other: {"name": "x", "prompts": [{"prompt": "?", "expected": "x"}], "team": other.team.slug},
    ),
]
FORM_REACHES = [
    ("/playground/token/", lambda other: {"deployment": other.deployment.pk}),
    ("/keys/new/", lambda other: {"name": "x", "team": other.team.pk, "scopes": "inference"}),
    (
        "/deployments/new/",
        lambda other: {"name": "x", "team": other.team.pk, "artifact": other.job.artifact_id, "replicas": 1},
    ),
    ("/deployments/new/", lambda other: {"name": "x", "artifact": other.artifact.pk, "replicas": 1}),
    ("/quantise/prompts/", lambda other: {"name": "x", "team": other.team.pk, "prompts": "?\ncontains: x"}),
    ("/quantise/texts/", lambda other: {"name": "x", "team": other.team.pk, "text": "x" * 3000}),
]

# Every route that opens without signing in, each looked at. At most eight.
OPEN_ROUTES = {
    "healthz": "says whether the database answers, nothing else",
    "readyz": "one word, for health checks; parts are told to the installation's admins alone",
    "accounts/login/": "the form to sign in",
    "accounts/2fa/authenticate/": "the second step of signing in; wants the first one's session",
    "accounts/2fa/webauthn/login/": "signing in by passkey; the answer to a challenge is the credential",
    "accounts/link/": "invitations and new passwords; the link's 256-bit token is the credential",
    "accounts/sso/login/": "sends the browser to the identity provider",
    "accounts/sso/callback/": "takes the provider's answer; state and nonce bind it to this browser",
}
# Routes that write without an entry in the audit log, each with its reason.
UNWRITTEN: dict[str, str] = {}
# Not people's endpoints: they want the installation's internal secret and do not exist without it.
INTERNAL = "internal/"
