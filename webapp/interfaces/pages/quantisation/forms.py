"""The form of a recipe, and the one of a text."""

from typing import Any, cast

from django import forms
from pydantic import ValidationError

from webapp.accounts.models import Team
from webapp.catalog.models import Artifact, CopyState
from webapp.deployments.options import OptionsForm, options_form
from webapp.interfaces.pages.catalog.forms import RefusableForm
from webapp.inventory.models import Host
from webapp.quantisation import golden
from webapp.quantisation.models import CalibrationSet, PromptSet
from webapp.quantisation.recipes import METHODS, Measure, Recipe, served_by

PREFIX = "option"
EXAMPLE = """What is the capital of France?
contains: Paris

Answer with one word: what colour is the sky?
matches: (?i)\\bblue\\b"""


class QuantiseForm(RefusableForm):
    """What to make, where, and how it is judged. The method's own options are a form of their own."""

    method = forms.ChoiceField(help_text=f"Depends on the engine that will serve the result: {served_by()}.")
    team = forms.ModelChoiceField(Team.objects.none(), empty_label=None, help_text="Team that owns the job.")
    host = forms.ModelChoiceField(Host.objects.none(), empty_label=None, help_text="Hosts that have the source.")
    calibration = forms.ModelChoiceField(
        CalibrationSet.objects.none(), required=False, empty_label="Built-in dataset",
        label="Calibration dataset", help_text="Use text similar to your real workload.",
    )  # fmt: skip
    measure = forms.BooleanField(
        required=False, initial=True, label="Evaluate quality and speed",
        help_text="Perplexity, KL divergence and agreement with the source, speed and memory.",
    )  # fmt: skip
    judging = forms.ModelChoiceField(
        CalibrationSet.objects.none(), required=False, empty_label="Built-in dataset",
        label="Evaluation dataset",
        help_text="Use a different dataset than for calibration, and the same one for all variants.",
    )  # fmt: skip
    prompts = forms.ModelChoiceField(
        PromptSet.objects.none(), required=False, empty_label="None", label="Golden prompts",
        help_text="Your team's questions with known answers; the result records how many were answered as expected.",
    )  # fmt: skip
    chunks = forms.IntegerField(
        min_value=1, max_value=2000, initial=16, label="Evaluation chunks",
        help_text="Maximum number of 512-token chunks; more is more accurate and takes longer.",
    )  # fmt: skip

    def __init__(self, data: Any, *, artifact: Artifact, teams: list[Team]) -> None:
        super().__init__(data)
        fitting = [method for method in METHODS.values() if artifact.format in method.takes]
        self.methods = [(method.name, method.title) for method in fitting]
        cast(forms.ChoiceField, self.fields["method"]).choices = self.methods
        _rows(self, "team", Team.objects.filter(pk__in=[team.pk for team in teams]).order_by("name"))
        present = artifact.copies.filter(state=CopyState.PRESENT).values("host")
        _rows(self, "host", Host.objects.open_to(teams).filter(pk__in=present).order_by("name"))
        texts = CalibrationSet.objects.open_to(teams).for_list()
        _rows(self, "calibration", texts)
        _rows(self, "judging", texts)
        _rows(self, "prompts", PromptSet.objects.open_to(teams).for_list())
        self.options = self._options(data)

    def method_name(self) -> str:
        """The method chosen so far, or the first one."""
        names = [name for name, _label in self.methods]
        typed = self.data.get("method") if self.is_bound else None
        return str(typed if typed in names else names[0]) if names else "gguf"

    def chosen(self, name: str) -> Any:
        """What is chosen in one field so far; None for nothing or nonsense."""
        try:
            return self.fields[name].clean(self[name].value())
        except forms.ValidationError:
            return None

    def recipe(self) -> Recipe | None:
        """The recipe as typed; None while an option is wrong."""
        if self.options.is_bound and not self.options.is_valid():
            return None
        recipe = Recipe.model_validate({"method": self.method_name(), "options": self.options.chosen()})
        try:
            assert recipe.chosen
        except ValidationError:
            return None
        return recipe

    def measured(self) -> Measure | None:
        wanted = self.chosen("measure") if self.is_bound else True
        return Measure(chunks=self.chosen("chunks") or 16) if wanted else None

    def _options(self, data: Any) -> OptionsForm:
        kind = options_form(METHODS[self.method_name()].options)
        # Another method's options were on the page before: then its own defaults count.
        is_same = data is not None and data.get("shown_method") == self.method_name()
        return kind(data if is_same else None, prefix=PREFIX)


class TextForm(RefusableForm):
    """A text to calibrate on or to judge with."""

    name = forms.CharField(max_length=80, help_text="Display name.")
    team = forms.ModelChoiceField(Team.objects.none(), empty_label=None, help_text="Who may use it.")
    licence = forms.CharField(max_length=80, required=False, help_text="Licence of the text.")
    text = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 12, "spellcheck": "false"}),
        help_text="Paragraphs separated by empty lines; a few hundred work best.",
    )

    def __init__(self, data: Any, *, teams: list[Team]) -> None:
        super().__init__(data)
        _rows(self, "team", Team.objects.filter(pk__in=[team.pk for team in teams]).order_by("name"))


class PromptsForm(RefusableForm):
    """Golden prompts as people write them."""

    name = forms.CharField(max_length=80, help_text="Display name.")
    team = forms.ModelChoiceField(Team.objects.none(), empty_label=None, help_text="Who may use them.")
    prompts = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 12, "spellcheck": "false", "placeholder": EXAMPLE}),
        help_text="A prompt, and on its last line what the answer must be: “contains:” a text in any case, "
        "“matches:” a regular expression, “equals:” the whole answer. An empty line starts the next prompt.",
    )  # fmt: skip

    def __init__(self, data: Any, *, teams: list[Team]) -> None:
        super().__init__(data)
        _rows(self, "team", Team.objects.filter(pk__in=[team.pk for team in teams]).order_by("name"))

    def clean_prompts(self) -> list[golden.Prompt]:
        try:
            return golden.parse(self.cleaned_data["prompts"])
        except golden.BadPrompts as error:
            raise forms.ValidationError(str(error)) from error


def _rows(form: forms.Form, name: str, rows: Any) -> None:
    cast("forms.ModelChoiceField[Any]", form.fields[name]).queryset = rows
