"""Carry out one step that `decide` chose. Each is safe to repeat after a crash in its middle."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.utils import timezone

from webapp import engines
from webapp.catalog import images as allowed
from webapp.control import lease
from webapp.control.sightings import ABSENT_S
from webapp.control.steps import GO_ON, LOOK_AGAIN_S, Pause
from webapp.deployments import decide, lifecycle
from webapp.deployments.lifecycle import Reason
from webapp.deployments.models import Replica
from webapp.deployments.states import ReplicaState
from webapp.engines.base import HardwareAllocation
from webapp.foundation.errors import ServiceError
from webapp.foundation.paths import ENGINE_SOCKET
from webapp.inventory import services as inventory
from webapp.inventory.models import Host
from workers.controllers import looks
from workers.controllers.replica import deaths, placing, ways_in
from workers.runtime import specs
from workers.runtime.base import (
    ENGINE_NETWORK,
    LABEL_INSTALLATION,
    SOCKET_PATH,
    ContainerMissing,
    ContainerSpec,
    HostUnreachable,
    ImageMissing,
    NameTaken,
    NetworkMissing,
    Runtime,
    StartRefused,
)

logger = logging.getLogger(__name__)

S = ReplicaState


def carry_out(step: decide.Step, replica: Replica) -> Pause:
    """Do it; GO_ON when the next step may follow at once."""
    try:
        return _DO[type(step)](step, replica)
    except HostUnreachable as fault:
        if replica.host is not None:
            looks.record_silence(replica.host, fault)
        return 5


def _runtime(replica: Replica) -> Runtime:
    assert replica.host is not None
    return looks.contact(replica.host)


def _begin(_step: decide.Begin, replica: Replica) -> Pause:
    return _went(lifecycle.begin_again(replica, S.STOPPED, Reason("", "start requested")))


def _retry(_step: decide.RetryNow, replica: Replica) -> Pause:
    return _went(lifecycle.begin_again(replica, S.FAILED, Reason("retry", f"retrying after: {replica.reason}"[:500])))


def _replan(_step: decide.Replan, replica: Replica) -> Pause:
    why = Reason("host_unreachable", "the host stopped answering before anything was started on it")
    if replica.state == S.PULLING:
        return _went(lifecycle.record_crash(replica, why, retry=True, counts=False))
    return _went(lifecycle.begin_again(replica, S.PLACING, why))


def _place(_step: decide.Place, replica: Replica) -> Pause:
    return placing.place(replica) if not replica.host_id else GO_ON


def _ensure_image(_step: decide.EnsureImage, replica: Replica) -> Pause:
    barred = _barred(replica)
    if barred is not None:
        return _crash_now(replica, barred, False)
    runtime = _runtime(replica)
    wanted = images(replica)
    if not wanted:
        return _crash_now(
            replica, Reason("image_missing", "This engine has no image for the hardware it was given."), False
        )
    present = next((image for image in wanted if runtime.find_image(image)), None)
    if present is not None:
        why = Reason("", f"image {present} is on the host")
        return _went(lifecycle.move(replica, S(replica.state), S.STARTING, why, image=present, progress=None))
    if replica.state == S.PULLING:
        return LOOK_AGAIN_S  # the watcher pulls it and calls when it is there
    # What we build ourselves is in no registry; what one has under such a name is not ours.
    pulled = next((image for image in wanted if not allowed.is_built_here(image)), None)
    if pulled is None:
        text = f"The image {wanted[0]} is not on {replica.host}."
        return _crash_now(replica, Reason("image_missing", text, "Run `make run` or `make quantizers` there."), False)
    lifecycle.move(
        replica, S.PLACING, S.PULLING, Reason("", f"pulling {pulled}"), image=pulled, progress_at=timezone.now()
    )
    return LOOK_AGAIN_S


def images(replica: Replica) -> tuple[str, ...]:
    """Image references that would do, best first."""
    contents = replica.contents
    return (contents.image,) if contents.image else engines.get(contents.engine).images(grant(replica).vendor)


def _barred(replica: Replica) -> Reason | None:
    """Why its image may not run; the list may have changed since it was asked for."""
    try:
        allowed.check(replica.contents.image)
    except ServiceError as refusal:
        return Reason("image_not_allowed", refusal.what, refusal.advice)
    return None


def grant(replica: Replica) -> HardwareAllocation:
    """What placement gave the replica."""
    stored = replica.grant
    return HardwareAllocation(
        stored.get("vendor", "cpu"),
        tuple(stored.get("device_ids", ())),
        stored.get("memory_limit_bytes", 0),
        stored.get("cpu_count", 1),
    )


def _adopt(step: decide.Adopt, replica: Replica) -> Pause:
    try:
        container = _runtime(replica).inspect(step.container_id)
    except ContainerMissing:
        return GO_ON
    address = ways_in.address_of(replica, container)
    lifecycle.adopt(replica, step.container_id, step.generation, step.attempt, address)
    return GO_ON


def _create(_step: decide.Create, replica: Replica) -> Pause:
    barred = _barred(replica)
    if barred is not None:
        return _crash_now(replica, barred, False)
    # Once more: pulling an image takes minutes, in which files may have been withdrawn.
    if (withdrawn := placing.forbidden(replica)) is not None:
        return _crash_now(replica, withdrawn, False)
    runtime = _runtime(replica)
    contents, name = replica.contents, replica.deployment.name
    artifact, engine = contents.artifact, engines.get(contents.engine)
    assert artifact is not None
    try:
        options = engine.Options.model_validate(contents.options)
        model = specs.model_files(artifact.pk, artifact.main_file, name, artifact.format, artifact.facts)
        launch = engine.launch(model, options, grant(replica))
    except ValueError as error:
        return _crash_now(replica, Reason("bad_option", str(error), "Change the deployment's options."), False)
    way_in = ways_in.prepare(replica, grant(replica))
    if way_in.folder:
        launch = engine.on_socket(launch, f"{SOCKET_PATH}/{ENGINE_SOCKET}")
    who = specs.labels(str(inventory.installation().pk), "replica", replica.pk, replica.generation, replica.attempt)
    told = specs.told(replica.deployment.team.slug, name, replica.number)
    spec = specs.engine_container(
        name=replica.container_name, image=replica.image, way_in=way_in, engine=engine, launch=launch,
        grant=grant(replica), who=who | told, artifact_id=artifact.pk,
    )  # fmt: skip
    lease.note(replica, port=launch.port, upstream_model=launch.upstream_model)
    try:
        container_id, spec = _made(runtime, spec, who, replica)
    except _Foreign as fault:
        text = f"A container not managed by Modelyard already uses the name {fault}."
        return _crash_now(replica, Reason("start_failed", text, "Remove or rename that container."), False)
    except ImageMissing as fault:
        return _explained(replica, str(fault), "image_missing")
    except NetworkMissing:
        return _mend_network(runtime, replica)
    except StartRefused as fault:
        return _explained(replica, str(fault))
    lease.note(replica, container_id=container_id, container=spec.name)
    return GO_ON


class _Foreign(Exception):
    """A container that this installation has not made has the name."""


def _made(runtime: Runtime, spec: ContainerSpec, who: Mapping[str, str], replica: Replica) -> tuple[str, ContainerSpec]:
    """The container's id, and the spec with the name it has. Raises _Foreign and what `create` raises.

    A deployment or a team may have had the name before, and its last container be there still: then the replica's id
    stands behind the name.
    """
    for name in (spec.name, f"{spec.name}-r{replica.pk}"):
        wanted = dataclasses.replace(spec, name=name)
        try:
            return runtime.create(wanted), wanted
        except NameTaken:
            there = runtime.inspect(name)
            if {label: there.labels.get(label) for label in who} == dict(who):
                return there.id, wanted
            if there.labels.get(LABEL_INSTALLATION) != who[LABEL_INSTALLATION]:
                raise _Foreign(name) from None
    raise _Foreign(name)


def _start(step: decide.Start, replica: Replica) -> Pause:
    runtime = _runtime(replica)
    try:
        runtime.start(step.container_id)
    except ContainerMissing:
        return GO_ON
    except NetworkMissing:
        # Docker ties a container to the network's id: with a new network it must be made anew.
        runtime.remove(step.container_id)
        lease.note(replica, container_id="", container="")
        return _mend_network(runtime, replica)
    except StartRefused as fault:
        return _explained(replica, str(fault))
    lease.note(replica, container_id=step.container_id)
    return GO_ON


def _mend_network(runtime: Runtime, replica: Replica) -> Pause:
    """The engine network was removed behind our back: make it again with the addresses that are reserved."""
    assert replica.host is not None
    labels = {LABEL_INSTALLATION: str(inventory.installation().pk)}
    subnet = runtime.ensure_network(ENGINE_NETWORK, (replica.host.engine_subnet,), labels)
    if subnet != replica.host.engine_subnet:
        text = f"The engine network has the addresses {subnet} instead of {replica.host.engine_subnet}."
        return _crash_now(replica, Reason("start_failed", text, f"Remove the Docker network {ENGINE_NETWORK}."), False)
    return GO_ON


def _move_loading(step: decide.MoveLoading, replica: Replica) -> Pause:
    if ways_in.needs_forwarder(replica, grant(replica)):
        try:
            ways_in.ensure_forwarder(_runtime(replica), replica, step.container_id)
        except ContainerMissing:
            return GO_ON
        except ImageMissing:
            return _crash_now(replica, ways_in.NO_FORWARDER, True)
        except StartRefused as fault:
            return _explained(replica, str(fault))
    told = {S.STARTING: "the container is running", S.PAUSED: "unpaused: it must pass the health check again"}
    text = told.get(S(replica.state), "container found running after reconnect")
    columns: dict[str, Any] = {
        "container_id": step.container_id, "missing_since": None, "progress_at": timezone.now(), "failed_starts": 0,
    }  # fmt: skip
    return _went(lifecycle.move(replica, S(replica.state), S.LOADING, Reason("", text), **columns))


def _mark_paused(step: decide.MarkPaused, replica: Replica) -> Pause:
    host = replica.host.name if replica.host else "its host"
    why = Reason(
        "paused",
        "its container was paused from outside (docker pause)",
        f"Resume it with: docker unpause {replica.container_name} (on {host}). "
        "Or stop the deployment and start it again.",
    )
    columns: dict[str, Any] = {"container_id": step.container_id, "missing_since": None}
    return _went(lifecycle.move(replica, S(replica.state), S.PAUSED, why, ready_at=None, proven_at=None, **columns))


def _crash(step: decide.Crash, replica: Replica) -> Pause:
    runtime = _runtime(replica)
    if step.kill:
        if not _is_ours_still(replica):
            return 0
        runtime.signal(step.container_id, "SIGKILL")
    reason = deaths.explain(runtime, replica, step)
    why = Reason(reason.code, reason.message, reason.advice)
    counts = reason.code not in ("daemon_restart", "shut_down")
    lifecycle.record_crash(replica, why, reason.retry, counts)
    return _until_due(replica)


def _explained(replica: Replica, text: str, code: str = "") -> Pause:
    """Docker refused to make or start it."""
    reason = deaths.explain_refusal(replica, text)
    why = Reason(code or reason.code, reason.message, reason.advice)
    lifecycle.record_crash(replica, why, reason.retry, counts=True, has_run=False)
    return _until_due(replica)


def _crash_now(replica: Replica, why: Reason, retry: bool) -> Pause:
    lifecycle.record_crash(replica, why, retry, counts=True, has_run=False)
    return _until_due(replica)


def _until_due(replica: Replica) -> Pause:
    """Seconds until the date that the move to `failed` has set."""
    if replica.state != S.FAILED or replica.next_due_at is None:
        return None
    return max(0.1, (replica.next_due_at - timezone.now()).total_seconds())


def _drain(_step: decide.Drain, replica: Replica) -> Pause:
    why = Reason("stopped", "finishing in-flight requests")
    lifecycle.move(replica, S.READY, S.DRAINING, why, stop_requested_at=timezone.now())
    return GO_ON


def _send_term(step: decide.SendTerm, replica: Replica) -> Pause:
    engine = engines.get(replica.contents.engine)
    # First the signal, then the state: after a crash between the two the signal goes out twice, but never not at all.
    _runtime(replica).signal(step.container_id, engine.stop_signal)
    now = timezone.now()
    lifecycle.move(
        replica, S(replica.state), S.STOPPING, Reason("stopped", "stopping the container (SIGTERM)"),
        stop_requested_at=replica.stop_requested_at or now,
        kill_after=now + timedelta(seconds=engine.stop_timeout_s),
    )  # fmt: skip
    return 0.3


def _kill(step: decide.Kill, replica: Replica) -> Pause:
    if not _is_ours_still(replica):
        return 0
    _runtime(replica).signal(step.container_id, "SIGKILL")
    return 0.3


def _remove(step: decide.Remove, replica: Replica) -> Pause:
    if not _is_ours_still(replica):
        return 0
    runtime = _runtime(replica)
    try:
        container = runtime.inspect(step.container_id)
    except ContainerMissing:
        container = None
    if container is not None and container.row_id == replica.pk:
        runtime.remove(step.container_id)
        ways_in.remove(runtime, replica, container)
    if step.container_id == replica.container_id:
        # We know that it is gone: no second sighting is needed.
        lease.note(replica, container_id="", container="")
    return GO_ON


def _is_ours_still(replica: Replica) -> bool:
    """Before anything is destroyed: is the claim that the decision rested on still ours?"""
    return lifecycle.REPLICA.reread(replica) is not None


def _mark_missing(_step: decide.MarkMissing, replica: Replica) -> Pause:
    now = timezone.now()
    if replica.state in (S.LOADING, S.READY, S.PAUSED):
        why = Reason("container_missing", "its container is not on the host any more", "It restarts in a moment.")
        lifecycle.move(replica, S(replica.state), S.LOST, why, missing_since=now)
    else:
        lease.note(replica, missing_since=now)
    return ABSENT_S


def _lost(_step: decide.Lost, replica: Replica) -> Pause:
    host: Host | None = replica.host
    name = host.name if host else "the host"
    why = Reason("host_unreachable", f"{name} does not answer", "It is not started elsewhere: it may well be running.")
    lifecycle.move(replica, S(replica.state), S.LOST, why)
    return LOOK_AGAIN_S


def _finish_stop(_step: decide.FinishStop, replica: Replica) -> Pause:
    return _went(lifecycle.finish_stop(replica, S(replica.state), Reason("stopped", "stopped")))


def _finish_delete(_step: decide.FinishDelete, replica: Replica) -> Pause:
    lifecycle.finish_delete(replica.deployment_id)
    return None


def _went(_moved: bool) -> Pause:
    """Whether we moved or somebody was first: look again."""
    return GO_ON


_DO: dict[type, Callable[[Any, Replica], Pause]] = {
    decide.Begin: _begin,
    decide.Place: _place,
    decide.Replan: _replan,
    decide.EnsureImage: _ensure_image,
    decide.Adopt: _adopt,
    decide.Create: _create,
    decide.Start: _start,
    decide.MoveLoading: _move_loading,
    decide.MarkPaused: _mark_paused,
    decide.Crash: _crash,
    decide.RetryNow: _retry,
    decide.Drain: _drain,
    decide.SendTerm: _send_term,
    decide.Kill: _kill,
    decide.Remove: _remove,
    decide.FinishStop: _finish_stop,
    decide.FinishDelete: _finish_delete,
    decide.MarkMissing: _mark_missing,
    decide.Lost: _lost,
}
