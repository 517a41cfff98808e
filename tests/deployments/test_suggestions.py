"""What a host that refuses could run instead: whoever does what is said gets a place there."""

import re
from typing import Any

import pytest

from tests.deployments.test_fit import AVX2, GIB, make_files, make_host
from webapp.deployments import fit
from webapp.deployments.spec import RevisionSpec
from webapp.inventory import services as inventory
from webapp.inventory.models import Host


def vllm(host: Host, weights_gib: float, cache_gib: int, cards: int | None = None, **more: Any) -> RevisionSpec:
    artifact = make_files(weights_gib, host, file_format="safetensors", quantisation=more.pop("quantisation", "BF16"))
    options = {"cache_gib": cache_gib} | ({} if cards is None else {"tensor_parallel": cards})
    return RevisionSpec(artifact=artifact, engine="vllm", options=options, **more)


def take(host: Host, *gib: int) -> None:
    cards = list(host.accelerators.order_by("index"))
    inventory.reserve("job:1", host.pk, GIB, {card.pk: size * GIB for card, size in zip(cards, gib, strict=True)})


@pytest.mark.parametrize("cards", [2, None])
def test_of_cards_that_share_evenly_the_fullest_counts(db: None, cards: int | None) -> None:
    host = make_host("pair", 24, 24, memory_gib=8)
    take(host, 14, 3)
    spec = vllm(host, 12, 24, cards)
    assert_it_would_fit(spec)


def test_the_emptiest_card_counts_where_the_tightest_is_full(db: None) -> None:
    host = make_host("pair", 24, 80, memory_gib=8)
    take(host, 24, 60)
    assert_it_would_fit(vllm(host, 12, 8, 1))


def assert_it_would_fit(spec: RevisionSpec) -> None:
    [place] = fit.answer(spec).places
    found = re.fullmatch(r"fits with a cache of (\d+) GiB", place.instead)
    assert found, (place.why, place.instead)
    for size, fits in ((int(found[1]), True), (int(found[1]) + 1, False)):
        changed = RevisionSpec(
            artifact=spec.artifact, engine="vllm", options={**spec.options, "cache_gib": size}
        )  # fmt: skip
        [place] = fit.answer(changed).places
        assert place.fits == fits, (size, place.why)


@pytest.mark.parametrize("hindrance", ["flags", "labels", "drained", "files"])
def test_nothing_is_suggested_where_something_else_is_in_the_way_too(db: None, hindrance: str) -> None:
    host = make_host("small", memory_gib=16, **({"flags": AVX2} if hindrance == "flags" else {}))
    quantisation = "AWQ 4-bit" if hindrance == "flags" else "BF16"
    labels = ("rack-3",) if hindrance == "labels" else ()
    spec = vllm(host, 4, 20, quantisation=quantisation, placement_labels=labels)
    if hindrance == "drained":
        Host.objects.update(is_drained=True)
    if hindrance == "files":
        spec.artifact.copies.all().delete()
    [place] = fit.answer(spec).places if hindrance != "files" else fit.answer(spec, most=6).places
    assert place.why and place.instead == ""
