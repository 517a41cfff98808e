"""The kit's entry in INSTALLED_APPS: template tags live in an app."""

from django.apps import AppConfig


class KitConfig(AppConfig):
    name = "webapp.interfaces.kit"
