"""Memory is reserved, by an owner; what the system keeps for itself is called so. Rows stay as they are."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F, Q

REFERS = {"host": "inventory.host", "accelerator": "inventory.accelerator"}


def _refers(model: str, name: str, related_name: str, **how: bool) -> migrations.AlterField:
    field = models.ForeignKey(
        on_delete=django.db.models.deletion.CASCADE, related_name=related_name, to=REFERS[name], **how
    )
    return migrations.AlterField(model, name, field)


def _within(model: str) -> migrations.AddConstraint:
    what = {"host": "this host", "accelerator": "this GPU"}[model]
    constraint = models.CheckConstraint(
        condition=Q(reserved_bytes__gte=0) & Q(reserved_bytes__lte=F("usable_bytes")),
        name=f"{model}_memory_not_overcommitted",
        violation_error_message=f"More memory is reserved on {what} than it has.",
    )
    return migrations.AddConstraint(model, constraint)


class Migration(migrations.Migration):
    dependencies = [("inventory", "0004_host_lane")]

    operations = [
        # Django does not carry a renamed column into constraints: they are made anew around it.
        migrations.RemoveConstraint("host", "host_memory_not_overbooked"),
        migrations.RemoveConstraint("host", "host_reserve_not_negative"),
        migrations.RemoveConstraint("accelerator", "accelerator_memory_not_overbooked"),
        migrations.RemoveConstraint("booking", "booking_of_memory_once"),
        migrations.RemoveConstraint("booking", "booking_of_accelerator_once"),
        migrations.RemoveConstraint("booking", "booking_not_negative"),
        # In this order: the second name is the first column's old one.
        migrations.RenameField("host", "reserved_bytes", "system_reserved_bytes"),
        migrations.RenameField("host", "booked_bytes", "reserved_bytes"),
        migrations.RenameField("accelerator", "booked_bytes", "reserved_bytes"),
        migrations.RenameModel("Booking", "Reservation"),
        migrations.RenameField("reservation", "holder", "owner"),
        migrations.RenameField("engineaddress", "holder", "owner"),
        _refers("hostevent", "host", "events"),
        _refers("reservation", "host", "reservations"),
        _refers("reservation", "accelerator", "reservations", null=True),
        _within("host"),
        _within("accelerator"),
        migrations.AddConstraint(
            "host",
            models.CheckConstraint(
                condition=Q(system_reserved_bytes=None) | Q(system_reserved_bytes__gte=0),
                name="host_reserve_not_negative",
                violation_error_message="Reserved memory is not negative.",
            ),
        ),
        migrations.AddConstraint(
            "reservation",
            models.UniqueConstraint(
                fields=["owner", "host"], condition=Q(accelerator=None), name="reservation_of_memory_once"
            ),
        ),
        migrations.AddConstraint(
            "reservation",
            models.UniqueConstraint(fields=["owner", "host", "accelerator"], name="reservation_of_accelerator_once"),
        ),
        migrations.AddConstraint(
            "reservation", models.CheckConstraint(condition=Q(size_bytes__gte=0), name="reservation_not_negative")
        ),
    ]
