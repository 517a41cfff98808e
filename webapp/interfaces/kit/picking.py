"""A choice among many rows: the page shows those that match a search, a screenful at most; works without scripts."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.db.models import Model
from django.http import HttpRequest

from webapp.foundation.search import filter_rows
from webapp.foundation.text import clean_text

SHOWN = 50


def is_search(request: HttpRequest) -> bool:
    """The form came with the button beside a search box: show it again, and do nothing."""
    return "search" in request.POST


def clear_errors(*shown: forms.Form) -> None:
    """Who only searched is not told what is still missing."""
    for form in shown:
        form.errors.clear()


class Pick(forms.ModelChoiceField):  # type: ignore[type-arg]  # no generic class at run time
    """A ModelChoiceField that never renders more than SHOWN rows. Any row of the queryset may be chosen.

    Set the queryset first, then call `narrow`. For templates: `is_long` asks for a search box, `q` is what stands in
    it, `left_out` says that there are more.
    """

    is_long = left_out = is_asked_anew = False
    q = ""

    def __init__(self, *args: Any, what: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.what = what

    def narrow(self, name: str, typed: Mapping[str, Any], chosen: Any) -> None:
        """Show what matches the search that was typed beside the field `name`, and always the row that is chosen."""
        rows = self.queryset
        assert rows is not None
        self.q = clean_text(typed.get(f"{name}-q"))
        self.is_asked_anew = self.q != typed.get(f"{name}-asked", "")
        found = list(filter_rows(rows, self.q)[: SHOWN + 1])
        self.left_out, found = len(found) > SHOWN, found[:SHOWN]
        self.is_long = self.left_out or bool(self.q)
        if isinstance(chosen, Model) and chosen not in found:
            found.insert(0, chosen)
        empty = [] if self.empty_label is None else [("", self.empty_label)]
        choices = [*empty, *zip((row.pk for row in found), self.labels(found), strict=True)]
        self.widget.choices = choices
        if self.q:
            # An open list shows what was found while people type.
            self.widget.attrs["size"] = min(8, max(2, len(choices)))

    def labels(self, rows: Sequence[Any]) -> list[str]:
        """What the rows are called in the list, in their order."""
        return [self.label_from_instance(row) for row in rows]


def narrow_all(form: forms.Form, typed: Mapping[str, Any]) -> None:
    """Narrow every Pick of the form by what was typed beside it. Their querysets are set already."""
    for name, field in form.fields.items():
        if isinstance(field, Pick):
            try:
                chosen = field.clean(form[name].value())
            except forms.ValidationError:
                chosen = None
            field.narrow(name, typed, chosen)
