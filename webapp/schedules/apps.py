"""The app's entry in INSTALLED_APPS."""

from django.apps import AppConfig


class SchedulesConfig(AppConfig):
    name = "webapp.schedules"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from webapp.catalog import uses
        from webapp.schedules import sources

        uses.register(self.label, uses.Users(as_source=sources.losing))
