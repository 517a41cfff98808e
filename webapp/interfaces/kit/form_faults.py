"""What is wrong in a form, said beside it: fields are looked at while people type, without drawing them anew."""

from django.forms import BaseForm


def first_fault(*forms: BaseForm) -> str:
    """What to mend first, by the label of its field; empty when nothing is wrong."""
    for form in forms:
        for name, faults in form.errors.items():
            label = form.fields[name].label if name in form.fields else ""
            return f"{label}: {faults[0]}" if label else str(faults[0])
    return ""
