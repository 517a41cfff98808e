"""Schedules have a trigger, a window and an idle time; a run that the gate stopped is rejected. Stored words follow."""

from typing import Any

from django.db import migrations, models
from django.db.models import Q

import webapp.schedules.states

TRIGGERS = {"crontab": "cron", "new_revision": "new_commit"}
OLD_EVENT, NEW_EVENT = "schedule.refused", "schedule.rejected"
STATES = ["waiting", "running", "succeeded", "rejected", "failed", "cancelled"]


def say_it(apps: Any, _editor: Any) -> None:
    schedules, runs = apps.get_model("schedules", "Schedule"), apps.get_model("schedules", "ScheduleRun")
    for old, new in TRIGGERS.items():
        schedules.objects.filter(trigger=old).update(trigger=new)
    runs.objects.filter(state="refused").update(state="rejected")
    for target in apps.get_model("schedules", "Target").objects.all():
        if OLD_EVENT in target.events:
            target.events = [NEW_EVENT if event == OLD_EVENT else event for event in target.events]
            target.save(update_fields=["events"])
    # By its key a message is known as told: with another one the sweep would tell of yesterday's runs again.
    for row in apps.get_model("schedules", "Notification").objects.filter(event=OLD_EVENT).iterator():
        row.event, row.key = NEW_EVENT, f"{NEW_EVENT}{row.key.removeprefix(OLD_EVENT)}"[:120]
        row.payload = {**row.payload, "event": NEW_EVENT}
        row.save(update_fields=["event", "key", "payload"])


class Migration(migrations.Migration):
    dependencies = [("schedules", "0004_control_loop")]

    operations = [
        # Django does not carry a renamed column into constraints: they are made anew around it.
        migrations.RemoveConstraint("schedule", "schedule_window_has_both_ends"),
        migrations.RemoveConstraint("schedulerun", "schedule_run_state_known"),
        migrations.RenameField("schedule", "may_gap", "allow_downtime"),
        migrations.RenameField("schedule", "when", "trigger"),
        migrations.RenameField("schedule", "crontab", "cron"),
        migrations.RenameField("schedule", "interval_min", "interval_minutes"),
        migrations.RenameField("schedule", "opens_at", "window_start"),
        migrations.RenameField("schedule", "shuts_at", "window_end"),
        migrations.RenameField("schedule", "idle_min", "idle_minutes"),
        migrations.RunPython(say_it, elidable=False),
        migrations.AlterField(
            "schedule",
            "trigger",
            models.CharField(
                choices=[("cron", "cron"), ("interval", "interval"), ("new_commit", "new_commit")], max_length=12
            ),
        ),
        migrations.AlterField(
            "schedulerun",
            "state",
            models.CharField(
                choices=[(state, state) for state in STATES],
                default=webapp.schedules.states.RunState["WAITING"],
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            "schedule",
            models.CheckConstraint(
                condition=Q(window_start=None, window_end=None)
                | Q(window_start__isnull=False, window_end__isnull=False),
                name="schedule_window_has_both_ends",
                violation_error_message="A window needs both ends.",
            ),
        ),
        migrations.AddConstraint(
            "schedulerun",
            models.CheckConstraint(condition=Q(state__in=STATES), name="schedule_run_state_known"),
        ),
    ]
