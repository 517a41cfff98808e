"""Gates: what passes, what does not, and what was never measured."""

import math

import pytest

from webapp.schedules.gates import Gate, evaluate

GOOD = {"kl_divergence": 0.02, "top1_agreement_percent": 95.0, "perplexity": 10.1, "base_perplexity": 10.0,
        "prompts_passed_percent": 80.0}  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "passes"),
    [
        ({"max_kl_divergence": 0.02}, True),
        ({"max_kl_divergence": 0.019}, False),
        ({"min_top1_agreement_percent": 95}, True),
        ({"min_top1_agreement_percent": 95.1}, False),
        ({"max_perplexity_ratio": 1.02}, True),
        ({"max_perplexity_ratio": 1.005}, False),
        ({"min_prompts_passed_percent": 80}, True),
        ({"min_prompts_passed_percent": 90}, False),
        ({"max_kl_divergence": 0.1, "min_top1_agreement_percent": 99}, False),
    ],
)
def test_a_result_passes_when_it_keeps_every_limit(limits, passes):
    checks = evaluate(Gate(**limits), GOOD)
    assert len(checks) == len(limits)
    assert all(check.is_passed for check in checks) is passes


@pytest.mark.parametrize("value", [None, math.nan, "0.01", True])
def test_what_was_not_measured_does_not_pass_and_says_so(value):
    [check] = evaluate(Gate(max_kl_divergence=0.1), {"kl_divergence": value})
    assert not check.is_passed
    assert "not measured" in check.words


def test_a_failed_limit_is_told_with_both_numbers():
    [check] = evaluate(Gate(min_top1_agreement_percent=99), GOOD)
    assert check.words == "Top-1 agreement is 95, below the limit 99"


def test_without_a_base_there_is_no_ratio():
    [check] = evaluate(Gate(max_perplexity_ratio=1.1), {"perplexity": 10.0})
    assert check.measured is None
