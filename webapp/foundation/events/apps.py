from django.apps import AppConfig


class EventsConfig(AppConfig):
    name = "webapp.foundation.events"
