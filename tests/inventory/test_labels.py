"""What a label is."""

import pytest

from webapp.foundation.errors import Invalid
from webapp.inventory.labels import checked

LONGEST = "k" * 63


@pytest.mark.parametrize(
    "label", ["gpu", "gpu=a100", "rack-3", "example.org/zone=eu-1.b", "0", f"{LONGEST}={LONGEST}", "a_b"]
)
def test_key_and_key_with_value_are_labels(label: str) -> None:
    assert checked([f" {label} ", label, ""], 1, "labels") == (label,)


@pytest.mark.parametrize(
    "label", ["GPU", "=a", "a=", "a=b=c", "a b", "-a", "a-", "a=-b", f"{LONGEST}k", f"a={LONGEST}k", "ä", "a\nb", "a\n"]
)
def test_everything_else_is_none(label: str) -> None:
    stripped = label.strip() != label
    if stripped:
        assert checked([label], 1, "labels") == (label.strip(),)
        return
    with pytest.raises(Invalid) as refusal:
        checked([label], 1, "labels")
    assert "is no label" in refusal.value.fields["labels"] and "like gpu=a100" in str(refusal.value)


def test_too_many_are_refused() -> None:
    with pytest.raises(Invalid, match="At most 16 labels"):
        checked([f"l{number}" for number in range(17)], 16, "placement_labels")
