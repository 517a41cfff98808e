"""Lines that a task logs name the replica, job or host it works on."""

from typing import Any

from celery.signals import task_postrun, task_prerun

from webapp.foundation import logs

# What the one argument of each task counts.
SUBJECTS = {
    "deployments.reconcile": "replica", "jobs.reconcile": "job", "inventory.probe_host": "host",
    "inventory.work_host": "host",
}  # fmt: skip


@task_prerun.connect
def name_the_subject(task_id: str = "", task: Any = None, args: Any = (), **_signal: Any) -> None:
    """Before a task."""
    facts: dict[str, logs.Fact] = {"task": task_id}
    subject = SUBJECTS.get(getattr(task, "name", ""))
    if subject and args:
        facts[subject] = args[0]
    logs.bind(**facts)


@task_postrun.connect
def forget_the_subject(**_signal: Any) -> None:
    """After it."""
    logs.bind()
