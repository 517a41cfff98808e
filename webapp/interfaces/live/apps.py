from django.apps import AppConfig


class LiveConfig(AppConfig):
    name = "webapp.interfaces.live"
