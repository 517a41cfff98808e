"""What Prometheus is told: states, the memory ledger, queues, signs of life, usage, and the gateways' own counters.

Everything is read when somebody asks, with a fixed number of queries; no request pays for it.
"""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import redis
from django.conf import settings
from django.db import connection
from django.db.models import Count
from django.utils import timezone
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from webapp.deployments.models import Deployment, Replica
from webapp.deployments.states import ReplicaState
from webapp.inventory import services as inventory
from webapp.inventory.models import Accelerator, Host
from webapp.inventory.states import HostState
from webapp.jobs.models import Job
from webapp.jobs.states import JobState
from webapp.operations import backups, gateway_metrics, tables
from webapp.operations.models import Heartbeat
from webapp.operations.version import version
from webapp.usage import services as usage

logger = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
QUEUE, UNACKNOWLEDGED = "modelyard:celery", "modelyard:unacked"
_STARTED = time.time()


def render() -> bytes:
    """All metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Everything())
    return generate_latest(registry)


class _Everything:
    def collect(self) -> Iterator[Metric]:
        yield _gauge("info", "The version that runs", ["version"], [((version(),), 1)])
        yield from _states()
        yield from _memory()
        yield from _queues()
        yield from _processes()
        yield from _usage()
        yield from _care()
        yield from _gateways()


def _gauge(name: str, about: str, labels: list[str], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(f"modelyard_{name}", about, labels=labels)
    for label, value in values:
        family.add_metric(label, value)
    return family


def _states() -> Iterator[Metric]:
    """Every state is there with its count, 0 included: an alert on a series that vanished never fires."""
    wanted = dict(Deployment.objects.values_list("desired_state").annotate(n=Count("pk")))
    yield _gauge("deployments", "Deployments by what people want", ["desired"], _filled(wanted, ("running", "stopped")))
    replicas = dict(Replica.objects.values_list("state").annotate(n=Count("pk")))
    yield _gauge("replicas", "Replicas by state", ["state"], _filled(replicas, ReplicaState))
    jobs = dict(Job.objects.values_list("state").annotate(n=Count("pk")))
    yield _gauge("jobs", "Jobs by state", ["state"], _filled(jobs, JobState))
    hosts = dict(Host.objects.values_list("state").annotate(n=Count("pk")))
    yield _gauge("hosts", "Hosts by state", ["state"], _filled(hosts, HostState))


def _filled(counts: dict[str, int], names: Iterable[str]) -> list[tuple[tuple[str, ...], float]]:
    return [((str(name),), counts.get(str(name), 0)) for name in [*map(str, names)]]


def _memory() -> Iterator[Metric]:
    memory = GaugeMetricFamily(
        "modelyard_host_memory_bytes", "Host memory: total, usable by engines, and reserved", labels=["host", "kind"]
    )
    disk = GaugeMetricFamily("modelyard_host_disk_bytes", "Docker's disk on the host", labels=["host", "kind"])
    for host in Host.objects.order_by("name"):
        for kind, size in (
            ("total", host.memory_bytes),
            ("usable", host.usable_bytes),
            ("reserved", host.reserved_bytes),
        ):
            memory.add_metric([host.name, kind], size)
        disk.add_metric([host.name, "total"], host.disk_total_bytes)
        disk.add_metric([host.name, "free"], host.disk_free_bytes)
    yield memory
    yield disk
    gpus = GaugeMetricFamily(
        "modelyard_accelerator_memory_bytes",
        "Accelerator memory: total, usable by engines, and reserved",
        labels=["host", "accelerator", "model", "kind"],
    )
    for gpu in Accelerator.objects.filter(is_present=True).select_related("host").order_by("host_id", "index", "id"):
        for kind, size in (("total", gpu.memory_bytes), ("usable", gpu.usable_bytes), ("reserved", gpu.reserved_bytes)):
            gpus.add_metric([gpu.host.name, gpu.uuid, gpu.name, kind], size)
    yield gpus


def _queues() -> Iterator[Metric]:
    """Messages that wait for a worker, and those that a worker holds. Without a broker it is absent: it is unknown."""
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)
    try:
        sizes = [(("waiting",), float(client.llen(QUEUE))), (("held",), float(client.hlen(UNACKNOWLEDGED)))]
        yield _gauge("broker_up", "Whether the broker answers", [], [((), 1)])
        yield _gauge("queue_messages", "Messages to the workers", ["state"], sizes)
    except redis.RedisError:
        yield _gauge("broker_up", "Whether the broker answers", [], [((), 0)])
    finally:
        client.close()


def _processes() -> Iterator[Metric]:
    """Each process as it described itself at its last sign of life; web is this one."""
    now = timezone.now()
    beats = list(Heartbeat.objects.order_by("name"))
    # A sweep writes both; what is said about `beat` is the worker's own otherwise.
    facts = {row.name: row.facts for row in beats if row.name != "beat"} | {"web": _own()}
    ages = [((row.name,), max(0.0, (now - row.at).total_seconds())) for row in beats]
    yield _gauge("heartbeat_age_seconds", "Time since a process's last sign of life", ["process"], ages)
    rss = [((name,), float(about.get("rss_bytes", 0))) for name, about in facts.items()]
    yield _gauge("process_resident_memory_bytes", "Resident memory", ["process"], rss)
    began = [((name,), float(about.get("started_at", 0))) for name, about in facts.items()]
    yield _gauge("process_start_time_seconds", "When the process began, Unix time", ["process"], began)
    cpu = CounterMetricFamily("modelyard_process_cpu_seconds", "CPU time used", labels=["process"])
    for name, about in facts.items():
        cpu.add_metric([name], float(about.get("cpu_s", 0)))
    yield cpu
    rounds = [((), float(row.facts["round_s"])) for row in beats if "round_s" in row.facts]
    yield _gauge("watcher_round_seconds", "How long the watcher's last round over its hosts took", [], rounds)


def _own() -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return {"rss_bytes": resident, "cpu_s": used.ru_utime + used.ru_stime, "started_at": _STARTED}


def _usage() -> Iterator[Metric]:
    names = {
        pk: (team, name) for pk, team, name in Deployment.objects.values_list("pk", "team__slug", "name").order_by("pk")
    }
    families = {
        field: CounterMetricFamily(f"modelyard_usage_{field}", f"{about}, as accounted", labels=["team", "deployment"])
        for field, about in (
            ("requests", "Requests"),
            ("failed", "Failed requests"),
            ("prompt_tokens", "Tokens in prompts"),
            ("completion_tokens", "Tokens in answers"),
        )
    }
    for deployment_id, total in usage.totals().items():
        # A deleted deployment has no name that a series could go on with.
        if deployment_id in names:
            for field, family in families.items():
                family.add_metric(list(names[deployment_id]), getattr(total, field))
    yield from families.values()


def _care() -> Iterator[Metric]:
    """What somebody should look after."""
    last = backups.last_done()
    age = [((), (timezone.now() - last.started_at).total_seconds())] if last else []
    yield _gauge("backup_age_seconds", "Time since the last backup that was made", [], age)
    yield _gauge("backup_failed", "Whether the last daily backup failed", [], [((), float(bool(backups.warning())))])
    held = float(inventory.is_on_hold())
    yield _gauge("installation_on_hold", "Whether unknown engines are kept until an admin has looked", [], [((), held)])
    yield _gauge("database_bytes", "Size of the database", [], [((), tables.size_bytes(connection))])


def _gateways() -> Iterator[Metric]:
    """The gateways' own families, one series per process: a sum over processes would fall when one restarts."""
    merged: dict[str, Metric] = {}
    for process, text in gateway_metrics.texts().items():
        for family in text_string_to_metric_families(text):
            target = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                target.samples.append(sample._replace(labels={"process": process, **sample.labels}))
    yield from merged.values()
