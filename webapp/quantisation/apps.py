"""The room's entry in INSTALLED_APPS."""

from django.apps import AppConfig


class QuantisationConfig(AppConfig):
    name = "webapp.quantisation"
    default_auto_field = "django.db.models.BigAutoField"
