"""What the end of a job writes down as measured: of its result, and of its source once for host, engine and text."""

from collections.abc import Mapping
from typing import Any

from webapp.catalog.models import Artifact
from webapp.jobs.models import Job
from webapp.quantisation.models import Measurement
from webapp.quantisation.plan import BASELINE

JUDGED = (
    "perplexity", "perplexity_error", "base_perplexity", "base_perplexity_error", "kl_divergence",
    "kl_divergence_error", "kl_divergence_p99", "top1_agreement_percent", "top1_agreement_percent_error",
)  # fmt: skip
TIMED = ("load_s", "peak_memory_bytes", "speed")
Said = Mapping[str, Any]


def why_no_baseline(job: Job) -> str:
    """Why the source is not timed after the result was; empty when it has to be."""
    timed, judged = job.result.get("speed", {}), job.result.get("judge", {})
    # llama.cpp's programs are all of one version, which the judging one tells.
    engine = timed.get("tool") or judged.get("tool")
    if not timed.get("speed") or not engine:
        return "The result was not timed, so there is nothing to compare."
    before = Measurement.objects.known_to(job.team).filter(
        artifact=job.artifact, host=job.host, text_sha256=job.params["judging"]["sha256"], tool__contains=engine,
        values__has_key="speed",
    ).first()  # fmt: skip
    return f"It was measured before, on {before.at:%Y-%m-%d}." if before else ""


def keep(job: Job, artifact: Artifact, parent: Artifact, result: Said) -> None:
    """Measurements of the result and of its source, as far as the job was to measure."""
    wanted, asked = job.params.get("measure"), result.get("prompts") or {}
    if not wanted and not asked:
        return
    size = wanted or {"context": 0, "chunks": 0}
    about = {
        "host": job.host, "job": job, "text_name": job.params["judging"]["name"],
        "text_sha256": job.params["judging"]["sha256"], "context": size["context"], "chunks": size["chunks"],
    }  # fmt: skip
    judged, timed = result.get("judge", {}), result.get("speed", {})
    values = {name: judged[name] for name in JUDGED if name in judged} | _sizes(artifact) | _times(timed)
    if judged.get("base_perplexity"):
        values["loss_percent"] = round((judged["perplexity"] / judged["base_perplexity"] - 1) * 100, 3)
        _keep_baseline(parent, result, about)
    if asked:
        values |= {f"prompts_{name}": asked[name] for name in ("passed", "total", "passed_percent")}
        values["prompts_name"] = job.params["prompts"]["name"]
    tool = _tools(judged, asked, timed)
    Measurement.objects.create(artifact=artifact, against=parent, values=values, tool=tool, **about)


def _keep_baseline(parent: Artifact, result: Said, about: Mapping[str, Any]) -> None:
    judged, timed = result["judge"], result.get(BASELINE, {})
    if not timed.get("speed"):
        # What it was judged at may have been written down with the engine that timed it then.
        tools = {_tools(judged), _tools(judged, result.get("speed", {}))}
        same = {name: about[name] for name in ("text_sha256", "context", "chunks")}
        if Measurement.objects.known_to(about["job"].team).filter(artifact=parent, tool__in=tools, **same).exists():
            return
    values = {"perplexity": judged["base_perplexity"], "perplexity_error": judged.get("base_perplexity_error")}
    values |= _sizes(parent) | _times(timed)
    team = about["job"].team
    # What is measured of another team's artifact names our texts.
    whose = team if team is not None and team.pk != parent.team_id else None
    Measurement.objects.create(artifact=parent, team=whose, values=values, tool=_tools(judged, timed), **about)


def _times(timed: Said) -> dict[str, Any]:
    """The judging program's own load and memory are those of no engine: transformers, two models at once."""
    values = {name: timed[name] for name in TIMED if timed.get(name)}
    return values | ({"speed_missing": str(timed["missing"])[:400]} if timed.get("missing") else {})


def _sizes(artifact: Artifact) -> dict[str, Any]:
    parameters = artifact.facts.get("parameters")
    weights = artifact.facts.get("weights_bytes") or artifact.size_bytes
    sizes: dict[str, Any] = {"size_bytes": artifact.size_bytes}
    return {**sizes, "bits_per_weight": round(weights * 8 / parameters, 3)} if parameters else sizes


def _tools(*said: Said) -> str:
    return ", ".join(dict.fromkeys(one["tool"] for one in said if one.get("tool")))[:120]
