"""Does it fit? The models page, the form, the dry run and the worker give one answer, host by host."""

import html
import json
import re
from typing import Any

import pytest
from django.urls import reverse

from tests.engines.processors import AVX2, AVX512
from tests.parts.images import allow
from tests.quantisation.test_recipes import SMOL
from webapp.accounts.models import Membership, Role
from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel, CopyState
from webapp.deployments import fit, lifecycle, services
from webapp.deployments.fleet import Fleet
from webapp.deployments.spec import RevisionSpec
from webapp.inventory import services as inventory
from webapp.inventory.models import Accelerator, Host
from webapp.planner.placement import When

GIB = 1024**3
# The answers: (host, verdict, kind of hardware, words of the reason).
Answer = tuple[str, str, str, str]


def make_host(name: str, *cards_gib: int, memory_gib: int = 16, flags: frozenset[str] = AVX512) -> Host:
    host = inventory.register_host(None, name, f"unix:///run/{name}.sock")
    cards = tuple(
        inventory.AcceleratorFacts(n, f"GPU-{name}-{n}", "nvidia", "NVIDIA L4", gib * GIB, compute_capability="8.9")
        for n, gib in enumerate(cards_gib)
    )
    facts = {"processor": {"name": "Some CPU", "flags": sorted(flags)}}
    found = inventory.HostFacts(f"daemon-{name}", 8, memory_gib * GIB, 500 * GIB, 400 * GIB, facts, cards)
    inventory.record_facts(host.pk, found)
    inventory.record_engine_network(host.pk, "modelyard-engines", "172.31.5.0/24")
    host.refresh_from_db()
    return host


def make_files(weights_gib: float, *hosts: Host, file_format: str = "gguf", quantisation: str = "Q4_K_M") -> Artifact:
    model = CatalogModel.objects.create(name="Large", slug="large", architecture="llama")
    size = int(weights_gib * GIB)
    geometry = {"architecture": "llama", "layers": 40, "heads": 32, "embedding_length": 4096, "weights_bytes": size}
    artifact = Artifact.objects.create(
        catalog_model=model, format=file_format, quantisation=quantisation, main_file="large", size_bytes=size,
        facts={**geometry, "quantisation": quantisation, "layer_bytes": [size // 40] * 40},
    )  # fmt: skip
    ArtifactCopy.objects.bulk_create(ArtifactCopy(artifact=artifact, host=h, state=CopyState.PRESENT) for h in hosts)
    return artifact


def two_cards(name: str = "gguf") -> tuple[Artifact, dict[str, Any], list[Answer]]:
    host = make_host("pair", 24, 24)
    return make_files(33, host, file_format=name), {}, [("pair", "now", "2 GPUs", "")]


def case_of_llamacpp_on_two_cards() -> Any:
    return two_cards()


def case_of_vllm_on_two_cards() -> Any:
    return two_cards("safetensors")


def case_of_vllm_held_to_one_card() -> Any:
    artifact, _given, _answers = two_cards("safetensors")
    return artifact, {"options": {"tensor_parallel": 1}}, [("pair", "never", "", "the most that is free is 24.0 GiB")]


def case_of_one_card_too_small() -> Any:
    host = make_host("small", 8)
    return make_files(33, host), {}, [("small", "never", "", "the most that is free is 8.0 GiB on NVIDIA L4")]


def case_of_a_host_in_the_wrong_state() -> Any:
    away, drained, bare, good = (make_host(name, 24) for name in ("away", "drained", "bare", "good"))
    artifact = make_files(4, away, drained, bare, good)
    inventory.record_lost(away.pk, "no answer")
    Host.objects.filter(pk=drained.pk).update(is_drained=True)
    Host.objects.filter(pk=bare.pk).update(engine_subnet="")
    return artifact, {}, [
        ("good", "now", "GPU", ""),
        ("away", "when_empty", "GPU", "The host cannot be reached."),
        ("bare", "when_empty", "GPU", "The host has not been prepared for engines yet."),
        ("drained", "when_empty", "GPU", "The host is being drained."),
    ]  # fmt: skip


def case_of_processors_without_the_flags() -> Any:
    old, new = make_host("old", flags=AVX2), make_host("new")
    artifact = make_files(1, old, new, file_format="safetensors", quantisation="AWQ 4-bit")
    why = "vLLM has no kernel for AWQ with 4 bits on processors without AVX-512."
    return artifact, {}, [("new", "now", "memory", ""), ("old", "never", "", why)]


def case_of_an_own_image_that_knows_better_than_the_flags() -> Any:
    old = make_host("old", flags=AVX2)
    artifact = make_files(1, old, file_format="safetensors", quantisation="AWQ 4-bit")
    allow("me/vllm")
    return artifact, {"image": "me/vllm:avx2"}, [("old", "now", "memory", "")]


def case_of_a_pinned_host() -> Any:
    small, large = make_host("small", 8), make_host("large", 80)
    return make_files(33, small, large), {"host": small}, [("small", "never", "", "the most that is free is 8.0 GiB")]


def case_of_reserved_memory() -> Any:
    host = make_host("busy", memory_gib=32)
    inventory.reserve("job:1", host.pk, 26 * GIB)
    return make_files(10, host), {}, [("busy", "when_empty", "memory", "It needs")]


def case_of_a_reserved_card() -> Any:
    host = make_host("busy", 24, 24)
    inventory.reserve("job:1", host.pk, GIB, {host.accelerators.first().pk: 20 * GIB})
    return make_files(33, host), {}, [("busy", "when_empty", "2 GPUs", "accelerators together; 28.0 GiB are free")]


def case_of_files_that_are_elsewhere() -> Any:
    here, elsewhere = make_host("here"), make_host("there")
    return make_files(1, here), {}, [
        ("here", "now", "memory", ""),
        (elsewhere.name, "when_empty", "memory", "The model's files are not on the host."),
    ]  # fmt: skip


def case_of_hosts_with_and_without_cards() -> Any:
    plain, carded = make_host("plain", memory_gib=8), make_host("carded", 8, memory_gib=8)
    return make_files(33, plain, carded), {}, [
        ("carded", "never", "", "on nvidia"),
        ("plain", "never", "", "It needs"),
    ]  # fmt: skip


CASES = [value for name, value in list(globals().items()) if name.startswith("case_of_")]


@pytest.mark.parametrize("case", CASES, ids=[case.__name__.removeprefix("case_of_") for case in CASES])
def test_models_page_form_dry_run_and_worker_say_the_same(case: Any, client: Any, ada: Any, team: Any) -> None:
    artifact, given, wanted = case()
    client.force_login(ada)
    said = dry_run(client, artifact, given, team)
    assert [(one["host"], one["when"], one["where"]) for one in said] == [one[:3] for one in wanted]
    for one, (_host, _when, _where, words) in zip(said, wanted, strict=True):
        assert words in one["why"] and bool(one["why"]) == bool(words), one
    answers = [(one["host"], one["when"], one["where"], one["why"]) for one in said]
    assert form(client, artifact, given, team) == answers
    if not given:  # the models page knows no options, no pin and no image
        assert models_page(client, artifact) == answers
    ask_the_worker(ada, team, artifact, given, answers)


def dry_run(client: Any, artifact: Artifact, given: dict[str, Any], team: Any) -> list[dict[str, Any]]:
    from webapp.accounts import keys

    _key, secret = keys.create_key(team.members.get(username="ada"), team, "program")
    pin = {"host": given["host"].pk} if "host" in given else {}
    body = json.dumps({"name": "chat", "artifact": artifact.pk, **given, **pin})
    reply = client.post(
        "/api/v1/deployments?dry_run=true", body, content_type="application/json", headers={"X-API-Key": secret}
    )
    assert reply.status_code == 200, reply.content
    return list(reply.json()["fit"]["places"])


VERDICTS = {"fits": "now", "not now": "when_empty", "does not fit": "never"}


def form(client: Any, artifact: Artifact, given: dict[str, Any], team: Any) -> list[Answer]:
    engine = "vllm" if artifact.format == "safetensors" else "llamacpp"
    typed = {"artifact": artifact.pk, "team": team.pk, "engine": engine, "options_of": engine}
    typed |= {f"options-{name}": value for name, value in given.get("options", {}).items()}
    typed |= {"host": given["host"].pk} if "host" in given else {}
    typed |= {"image": given.get("image", "")}
    text = html.unescape(client.post("/deployments/new/fit/", typed).content.decode())
    return read(re.findall(r'<div class="place">(.*?)\n</div>', text, re.DOTALL))


def models_page(client: Any, artifact: Artifact) -> list[Answer]:
    page = client.get(reverse("catalog:detail", args=[artifact.catalog_model.slug]))
    [listed] = re.findall(r'<ul class="fits list-unstyled">(.*?)</ul>', html.unescape(page.content.decode()), re.DOTALL)
    return read(re.findall(r"<li>(.*?)</li>", listed, re.DOTALL))


def read(pieces: list[str]) -> list[Answer]:
    answers = []
    for piece in pieces:
        words = re.sub(r"<svg.*?</svg>", "", piece, flags=re.DOTALL)
        [verdict] = [word for word in VERDICTS if re.search(rf">\s*{word}\s*<", words)]
        named = re.search(r"(?:<strong>|</span>\s+)([\w-]+)(?:</strong>)?(?:: ([\w ]+?))?(?: *<|$)", words)
        why = re.search(r'class="reason">([^<]*)<', words)
        assert named, piece
        answers.append((named[1], VERDICTS[verdict], named[2] or "", why[1] if why else ""))
    return answers


def ask_the_worker(ada: Any, team: Any, artifact: Artifact, given: dict[str, Any], answers: list[Answer]) -> None:
    from workers.controllers.replica import placing

    replica = services.create(ada, team, services.DeploymentSpec("chat", artifact=artifact, **given)).replicas.get()
    claimed = lifecycle.REPLICA.claim(replica.pk)
    assert claimed is not None
    placing.place(claimed)
    replica.refresh_from_db()
    takers = [answer for answer in answers if answer[1] == "now"]
    if not takers:
        assert replica.host is None
        assert replica.reason == " ".join(["No suitable host.", *(f"{host}: {why}" for host, _w, _k, why in answers)])
        return
    assert replica.host is not None, replica.reason
    count = len(replica.grant["device_ids"])
    where = "memory" if not count else "GPU" if count == 1 else f"{count} GPUs"
    assert (replica.host.name, where) in [(host, kind) for host, _when, kind, _why in takers]


def test_each_of_two_cards_is_reserved_for_its_share(ada: Any, team: Any) -> None:
    artifact, _given, _answers = two_cards()
    place = fit.answer(services.DeploymentSpec("chat", artifact=artifact, engine="llamacpp")).best
    assert place is not None
    shares = place.share_by_card
    assert len(shares) == 2 and sum(shares.values()) >= place.need.on(2)
    assert all(size <= 24 * GIB for size in shares.values())
    gpu_terms = sum(term.bytes for term in place.terms if term.place == "gpu")
    assert gpu_terms <= sum(shares.values()) <= gpu_terms + 2, "what is shown is what is reserved"
    ask_the_worker(ada, team, artifact, {}, [("pair", "now", "2 GPUs", "")])
    reserved = dict(Accelerator.objects.values_list("pk", "reserved_bytes"))
    assert reserved == shares


def test_a_size_alone_is_answered_by_the_same_rules(db: None) -> None:
    pair, away = make_host("pair", 24, 24), make_host("away", 24, 24)
    inventory.record_lost(away.pk, "no answer")
    fleet = Fleet.of(Host.objects.for_list())
    found = fit.by_size(33 * GIB, "gguf", fleet)
    assert [(one.host, one.when, one.where) for one in found.places] == [
        (pair, When.NOW, "2 GPUs"),
        (away, When.WHEN_EMPTY, "2 GPUs"),
    ]
    assert fit.by_size(300 * GIB, "gguf", fleet).first is None


def test_the_first_of_many_hosts_is_found_among_the_leading_ones(db: None) -> None:
    for number, (cards, memory) in enumerate([((), 8), ((6,), 4), ((), 8), ((30,), 4), ((6, 6), 31), ((5,), 31)]):
        make_host(f"h{number}", *cards, memory_gib=memory)
    every = Fleet.of(Host.objects.for_list())
    few = every.leading()
    assert [host.name for host, _offer in few.pairs] == ["h0", "h1", "h3", "h4"]
    for gib in range(1, 40):
        firsts = [fit.by_size(gib * GIB, "gguf", fleet).first for fleet in (every, few)]
        assert len({one and one.host.name for one in firsts}) == 1, gib


def test_a_pin_that_the_team_lost_says_so(ada: Any, team: Any) -> None:
    host = make_host("gone")
    artifact = make_files(1, host)
    Host.objects.filter(pk=host.pk).update(is_shared=False)
    spec = services.DeploymentSpec("chat", artifact=artifact, engine="llamacpp", host=host)
    assert fit.answer(spec, team).refusal == "The team may not use gone."


def test_the_form_says_so_of_a_host_of_another_team(client: Any, ada: Any, team: Any) -> None:
    other = artifact_team()
    Membership.objects.create(user=ada, team=other, role=Role.OPERATOR)
    host = make_host("theirs")
    Host.objects.filter(pk=host.pk).update(is_shared=False)
    host.grants.create(team=other)
    typed = {"artifact": make_files(1, host).pk, "team": team.pk, "engine": "llamacpp", "host": host.pk}
    client.force_login(ada)
    assert "The team may not use theirs." in client.post("/deployments/new/fit/", typed).content.decode()


def test_what_cannot_be_calculated_says_why(db: None) -> None:
    artifact = make_files(1, make_host("here"))
    artifact.facts = {}
    assert (
        "header says too little"
        in fit.answer(services.DeploymentSpec("chat", artifact=artifact, engine="llamacpp")).problem
    )


def test_a_number_of_cards_that_does_not_divide_the_heads_fits_nowhere(db: None) -> None:
    artifact = make_files(33, make_host("trio", 24, 24, 24), file_format="safetensors")
    found = fit.answer(RevisionSpec(artifact=artifact, engine="vllm", options={"tensor_parallel": 3}))
    assert found.problem.startswith("These options do not go together: 32 attention heads")
    assert found.best is None


def test_facts_of_a_small_model_give_terms_without_a_host(artifact: Any) -> None:
    artifact.facts = SMOL.as_json()
    Host.objects.update(is_shared=False)
    found = fit.answer(services.DeploymentSpec("chat", artifact=artifact, engine="llamacpp"), artifact_team())
    assert found.places == () and found.total_bytes > 0 and found.refusal == "No hosts yet."


def artifact_team() -> Any:
    from webapp.accounts.models import Team

    return Team.objects.create(name="Without hosts", slug="without")
