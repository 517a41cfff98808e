"""Is it ready, is it still well? One task per running engine."""

import asyncio
import logging
import time
from typing import Any

from django.db.utils import DatabaseError
from django.utils import timezone

from webapp.deployments.states import ReplicaState
from webapp.engines.base import ProbeOutcome, ProbeSpec, Readiness
from workers.hosts.asker import LATE, ask
from workers.watcher import answers, rows
from workers.watcher.cache import ReplicaCache, Run
from workers.watcher.rows import Target

logger = logging.getLogger(__name__)

S = ReplicaState

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
HEALTH_EVERY_S = 10.0
PROVEN_FOR_S = 30.0
AGAIN_S = 1.0
MAX_FAILURES = 3


async def watch(cache: ReplicaCache, run: Run) -> None:
    """Prove the run ready while it loads, and that it stays well afterwards; returns when the run is over."""
    while (target := cache.get(run)) is not None:
        try:
            if target.state in (S.STARTING, S.LOADING):
                await _until_ready(cache, run)
            elif target.state == S.READY:
                await _while_ready(cache, run)
            else:
                await asyncio.sleep(LONGEST_PAUSE_S)
        except DatabaseError as error:
            logger.warning("replica %s: %s", target.id, error)
            await asyncio.sleep(LONGEST_PAUSE_S)


async def _until_ready(cache: ReplicaCache, run: Run) -> None:
    """Ask quickly at first, then ever more slowly: a short load is noticed at once, a long one costs little."""
    began = time.monotonic()
    told = ""
    while (target := cache.get(run)) is not None and target.state in (S.STARTING, S.LOADING):
        answer = await _what_is_missing(target)
        if answer is None:
            if await rows.call(rows.mark_ready, target, await _capabilities(target)):
                logger.info("replica %s is ready", target.id)
            await cache.refresh(target.id)  # not moved: the worker has yet to write that it is loading
        elif answer and answer != told and target.state == S.LOADING:
            told = answer
            await rows.call(rows.record_answer, target, answer)
        waited_s = time.monotonic() - began
        await asyncio.sleep(min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, waited_s / 20)))


async def _while_ready(cache: ReplicaCache, run: Run) -> None:
    failures = 0
    await _learn(cache.get(run))
    while (target := cache.get(run)) is not None and target.state == S.READY:
        answered = await _is_healthy(target)
        if answered and _is_proof_old(target):
            answered = await _has_been_proven(cache, target)
        failures = 0 if answered else failures + 1
        if failures >= MAX_FAILURES:
            text = f"{failures} consecutive health checks failed."
            if await rows.call(rows.mark_unwell, target, text):
                logger.warning("replica %s: %s", target.id, text)
            await cache.refresh(target.id)
            failures = 0
        await asyncio.sleep(AGAIN_S if failures else HEALTH_EVERY_S)


def _is_proof_old(target: Target) -> bool:
    if target.proven_at is None:
        return True
    # Half a health period early, so that a proof is never older than PROVEN_FOR_S plus one period.
    return (timezone.now() - target.proven_at).total_seconds() > PROVEN_FOR_S - HEALTH_EVERY_S / 2


async def _has_been_proven(cache: ReplicaCache, target: Target) -> bool:
    """A real request answered: somebody else's lately, or ours now. Late under load is not failure."""
    fresh = await cache.refresh(target.id)
    if fresh is not None and not _is_proof_old(fresh):
        return True
    outcome = await _ask(target, target.engine.completion_probe(target.upstream_model, target.options))
    verdict = target.engine.classify_completion(outcome)
    if verdict == Readiness.READY:
        await rows.call(rows.record_proof, target.id)
        await cache.refresh(target.id)
        return True
    return verdict == Readiness.REFUSED and (outcome.error or "").startswith(LATE)


async def _is_healthy(target: Target) -> bool:
    return target.engine.classify_health(await _ask(target, target.engine.health_probe())) == Readiness.READY


async def _learn(target: Target | None) -> None:
    """Ask what it can do when it was ready before anybody kept that."""
    if target is not None and not target.has_told_capabilities and (found := await _capabilities(target)):
        await rows.call(rows.record_capabilities, target, found)


async def _what_is_missing(target: Target) -> str | None:
    """None: it has proven itself. Else what it answered instead; empty while nobody answers."""
    engine = target.engine
    outcome = await _ask(target, engine.health_probe())
    if engine.classify_health(outcome) == Readiness.READY:
        outcome = await _ask(target, engine.completion_probe(target.upstream_model, target.options))
        if engine.classify_completion(outcome) == Readiness.READY:
            return None
    return answers.told(outcome)


async def _capabilities(target: Target) -> dict[str, Any]:
    """What it says that it can do; empty when it does not say."""
    probe = target.engine.capabilities_probe()
    outcome = await _ask(target, probe) if probe is not None else None
    if outcome is None or outcome.status != 200:
        return {}
    return target.engine.read_capabilities(outcome.body).as_json()


async def _ask(target: Target, probe: ProbeSpec) -> ProbeOutcome:
    return await ask(target.reach, probe) if target.reach else ProbeOutcome(None, b"", "it has no address")
