"""The room's entry in INSTALLED_APPS."""

from django.apps import AppConfig


class SchedulesConfig(AppConfig):
    name = "webapp.schedules"
    default_auto_field = "django.db.models.BigAutoField"
