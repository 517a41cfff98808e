"""The app's entry in INSTALLED_APPS."""

from django.apps import AppConfig


class QuantisationConfig(AppConfig):
    name = "webapp.quantisation"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from webapp.catalog import images
        from webapp.jobs import kinds
        from webapp.jobs.models import JobKind
        from webapp.quantisation import finishing
        from webapp.quantisation.recipes import IMAGES

        images.register(IMAGES)
        kinds.register(JobKind.QUANTISE, finishing)
