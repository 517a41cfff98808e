"""A replica may be paused: its container was, by somebody on its host."""

from django.db import migrations, models

import webapp.deployments.states


class Migration(migrations.Migration):
    dependencies = [
        ("deployments", "0007_limits_and_capabilities"),
        ("inventory", "0004_host_lane"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="replica",
            name="replica_state_known",
        ),
        migrations.AlterField(
            model_name="replica",
            name="state",
            field=models.CharField(
                choices=[
                    ("pending", "pending"),
                    ("placing", "placing"),
                    ("pulling", "pulling"),
                    ("starting", "starting"),
                    ("loading", "loading"),
                    ("ready", "ready"),
                    ("paused", "paused"),
                    ("draining", "draining"),
                    ("stopping", "stopping"),
                    ("stopped", "stopped"),
                    ("failed", "failed"),
                    ("lost", "lost"),
                ],
                default=webapp.deployments.states.ReplicaState["PENDING"],
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="replica",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        [
                            "pending",
                            "placing",
                            "pulling",
                            "starting",
                            "loading",
                            "ready",
                            "paused",
                            "draining",
                            "stopping",
                            "stopped",
                            "failed",
                            "lost",
                        ],
                    )
                ),
                name="replica_state_known",
            ),
        ),
    ]
