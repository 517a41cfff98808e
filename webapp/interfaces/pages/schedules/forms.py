"""The form of a schedule, and the one of a notification target."""

import json
from types import SimpleNamespace
from typing import Any, cast

from django import forms

from webapp.accounts.models import Team, User
from webapp.catalog.models import Artifact, Hub
from webapp.deployments.models import Deployment
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.picking import Pick, narrow_all
from webapp.interfaces.pages.catalog.forms import QUIET, RefusableForm
from webapp.interfaces.pages.deployments.forms import PickArtifact
from webapp.inventory.models import Host
from webapp.quantisation.models import PromptSet
from webapp.quantisation.recipes import METHODS, GgufOptions, Measure, Recipe
from webapp.schedules import checking, notifying
from webapp.schedules.gates import Gate
from webapp.schedules.models import Schedule, TargetKind
from webapp.schedules.spec import ScheduleSpec
from webapp.schedules.timing import Trigger

# What people choose from; the API takes every option.
TYPES = ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "Q3_K_M", "IQ4_XS")
OFFERED = (
    *(Recipe(method="gguf", options={"type": kind}) for kind in TYPES),
    Recipe(method="awq"), Recipe(method="gptq"), Recipe(method="gptq", options={"bits": 8}), Recipe(method="int8"),
    Recipe(method="fp8"),
)  # fmt: skip
WHEN_WORDS = [
    (Trigger.CRON.value, "Cron schedule"),
    (Trigger.INTERVAL.value, "Fixed interval"),
    (Trigger.NEW_COMMIT.value, "On new upstream commit"),
]


class ScheduleForm(RefusableForm):
    """What, out of what, when, and what happens with the result."""

    name = forms.CharField(max_length=80, help_text="Display name.")
    team = forms.ModelChoiceField(Team.objects.none(), empty_label=None, help_text="Team that owns the schedule.")
    artifact = PickArtifact(
        required=False, empty_label="Hub repository (see below)", label="Source",
        help_text="Source model, preferably BF16 or F16.",
    )  # fmt: skip
    hub = forms.ModelChoiceField(Hub.objects.none(), required=False, empty_label="No hub")
    repo = forms.CharField(
        max_length=200, required=False, label="Repository", help_text="owner/name", widget=forms.TextInput(QUIET)
    )
    revision = forms.CharField(
        max_length=200, required=False, help_text="Branch or tag. Leave empty for the main branch.",
        widget=forms.TextInput(QUIET),
    )  # fmt: skip
    variant = forms.CharField(
        max_length=300, required=False, widget=forms.TextInput(QUIET),
        help_text="The variant's name as shown on the repository's page.",
    )  # fmt: skip
    recipes = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple,
        help_text="In order of preference: the first result that passes is deployed.",
    )
    host = Pick(Host.objects.none(), empty_label=None, help_text="Host that runs the jobs.", what="hosts")
    trigger = forms.ChoiceField(
        choices=WHEN_WORDS,
        help_text="Only the fields for the chosen trigger apply. Missed runs are coalesced into one.",
    )
    cron = forms.CharField(
        max_length=120, required=False, initial="0 2 * * *", widget=forms.TextInput(QUIET), label="Cron expression",
        help_text="Minute, hour, day of month, month, day of week. 0 2 * * * is every night at two.",
    )  # fmt: skip
    interval_minutes = forms.IntegerField(min_value=0, max_value=527_040, required=False, label="Interval (minutes)",
        help_text="At least 5; 1440 is once a day.",
    )  # fmt: skip
    zone = forms.CharField(
        max_length=60,
        initial="UTC",
        label="Time zone",
        widget=forms.TextInput(QUIET),
        help_text="IANA time zone, e.g. Europe/Berlin.",
    )
    window_start = forms.TimeField(
        required=False,
        label="Maintenance window start",
        help_text="Local time, e.g. 22:00. Runs start only inside the window; leave empty for any time.",
    )
    window_end = forms.TimeField(required=False, label="Maintenance window end",
        help_text="Local time, e.g. 06:00. Runs in progress continue.",
    )  # fmt: skip
    idle_minutes = forms.IntegerField(
        min_value=1, max_value=1440, required=False, label="Only when host idle for (minutes)",
        help_text="No requests to the host's deployments and no jobs there for so long. Leave empty to start at once.",
    )  # fmt: skip
    chunks = forms.IntegerField(
        min_value=1, max_value=2000, initial=16, required=False, label="Evaluation chunks",
        help_text="512-token chunks; more is more accurate and takes longer. Leave empty to skip evaluation.",
    )  # fmt: skip
    max_kl_divergence = forms.FloatField(
        min_value=0, max_value=100, required=False, label="Max KL divergence", help_text="0.05 is strict at 4 bits."
    )
    min_top1_agreement_percent = forms.FloatField(
        min_value=0,
        max_value=100,
        required=False,
        label="Min top-1 agreement (%)",
        help_text="How often the most likely next token is the source's; 90 is strict at 4 bits.",
    )
    max_perplexity_ratio = forms.FloatField(
        min_value=0.5, max_value=100, required=False, label="Max perplexity ratio",
        help_text="1.02: two percent worse than the source.",
    )  # fmt: skip
    prompts = forms.ModelChoiceField(
        PromptSet.objects.none(), required=False, empty_label="None", label="Golden prompts",
        help_text="Your team's questions with known answers, from Models > Golden prompts.",
    )  # fmt: skip
    min_prompts_passed_percent = forms.FloatField(
        min_value=0, max_value=100, required=False, label="Min golden prompts passed (%)",
        help_text="100: every answer must be as expected.",
    )  # fmt: skip
    deployment = Pick(
        Deployment.objects.none(), required=False, empty_label="Don't deploy", label="Deploy to",
        help_text="Zero-downtime rolling update to the first result that passes.", what="deployments",
    )  # fmt: skip
    allow_downtime = forms.BooleanField(required=False, label="Allow downtime if old and new don't fit side by side")
    keep_last = forms.IntegerField(
        min_value=1, max_value=1000, required=False, label="Keep last N results",
        help_text="Per recipe. Older ones are deleted unless they are in use. Leave empty to keep all.",
    )  # fmt: skip

    def __init__(self, data: Any, *, user: User, teams: list[Team], schedule: Schedule | None = None) -> None:
        super().__init__(data, initial=_initial(schedule) if schedule else None)
        self.schedule = schedule
        _rows(self, "team", Team.objects.filter(pk__in=[team.pk for team in teams]).order_by("name"))
        if schedule is not None:
            del self.fields["team"]
        owners = [schedule.team] if schedule else teams
        usable = Artifact.objects.open_to(owners).filter(is_leaving=False).select_related("catalog_model")
        _rows(self, "artifact", usable.order_by("catalog_model__name", "id"))
        _rows(self, "hub", Hub.objects.visible_to(user))
        _rows(self, "host", Host.objects.open_to(teams).order_by("name"))
        _rows(self, "prompts", PromptSet.objects.open_to(owners).for_list())
        of_teams = Deployment.objects.filter(team__in=owners)
        _rows(self, "deployment", of_teams.exclude(desired_state="deleted").order_by("name"))
        own = schedule.recipe_list if schedule else []
        offered = [*own, *(recipe for recipe in OFFERED if recipe.full() not in [one.full() for one in own])]
        choices = [(_key(recipe), _title(recipe)) for recipe in offered]
        cast(forms.MultipleChoiceField, self.fields["recipes"]).choices = choices
        narrow_all(self, self.data)

    def clean(self) -> dict[str, Any]:
        """Where a field cannot be read no service is asked; what is wrong beside it is told all the same."""
        typed = super().clean() or self.cleaned_data
        if self.errors:
            read = {name: typed.get(name, field.initial) for name, field in self.fields.items()}
            rough = SimpleNamespace(**read | {"interval_minutes": read["interval_minutes"] or 0})
            for fault in (*checking.of_source(rough), *checking.of_times(rough)):
                if fault.field not in self.errors:
                    self.add_error(fault.field, str(fault))
        return typed

    def take(self, refusal: ServiceError) -> None:
        """Several faults stand beside their fields and nowhere else."""
        # Judging is what a gate needs, and has a field; limits have one each.
        fields = {"chunks" if name == "gate" else name: said for name, said in refusal.fields.items()}
        if len(fields) < 2 or not fields.keys() <= self.fields.keys():
            super().take(refusal)
            return
        for name, said in fields.items():
            self.add_error(name, said)

    def spec(self) -> ScheduleSpec:
        """What was typed."""
        typed = self.cleaned_data
        limits = {name: typed[name] for name in Gate.model_fields}
        old = self.schedule
        kept: dict[str, Any] = {"calibration": old.calibration, "judging": old.judging} if old else {}
        before = old.measuring if old else None
        asked = {**(before.model_dump() if before else {"speed": False}), "chunks": typed["chunks"]}
        plain = (
            "name", "host", "artifact", "hub", "repo", "revision", "variant", "trigger", "cron", "zone", "window_start",
            "window_end", "idle_minutes", "prompts", "deployment", "allow_downtime", "keep_last",
        )  # fmt: skip
        return ScheduleSpec(
            recipes=tuple(Recipe.model_validate(json.loads(key)) for key in typed["recipes"]),
            interval_minutes=typed["interval_minutes"] or 0,
            measure=Measure.model_validate(asked) if typed["chunks"] else None,
            gate=Gate.model_validate(limits),
            **{name: typed[name] for name in plain},
            **kept,
        )


class TargetEventsForm(RefusableForm):
    """What to tell."""

    events = forms.MultipleChoiceField(
        choices=list(notifying.EVENTS.items()), widget=forms.CheckboxSelectMultiple, label="Notify on"
    )


class TargetForm(RefusableForm):
    """Whom to tell what."""

    kind = forms.ChoiceField(choices=[(TargetKind.WEBHOOK.value, "Webhook"), (TargetKind.MAIL.value, "Email")])
    address = forms.CharField(
        max_length=500, widget=forms.TextInput(QUIET), help_text="https://… URL or email address."
    )  # fmt: skip
    events = forms.MultipleChoiceField(
        choices=list(notifying.EVENTS.items()), widget=forms.CheckboxSelectMultiple, label="Notify on",
        initial=["schedule.rejected", "schedule.failed", "job.failed", "deployment.failed"],
    )  # fmt: skip


def _initial(schedule: Schedule) -> dict[str, Any]:
    measure = schedule.measuring
    columns = (
        "name", "artifact", "hub", "repo", "revision", "variant", "host", "trigger", "cron", "interval_minutes", "zone",
        "window_start", "window_end", "idle_minutes", "prompts", "deployment", "allow_downtime", "keep_last",
    )  # fmt: skip
    found = {name: getattr(schedule, name) for name in columns}
    keys = [_key(recipe) for recipe in schedule.recipe_list]
    return {**found, **schedule.limits.model_dump(), "recipes": keys, "chunks": measure.chunks if measure else None}


def _key(recipe: Recipe) -> str:
    return json.dumps(recipe.model_dump(), sort_keys=True)


def _title(recipe: Recipe) -> str:
    more = {name: value for name, value in recipe.options.items() if name not in ("type", "bits")}
    said = ", ".join(f"{name} {value}" for name, value in more.items())
    kind = METHODS[recipe.method].title if isinstance(recipe.chosen, GgufOptions) else ""
    return " ".join(part for part in (kind, recipe.label, f"({said})" if said else "") if part)


def _rows(form: forms.Form, name: str, rows: Any) -> None:
    cast("forms.ModelChoiceField[Any]", form.fields[name]).queryset = rows
