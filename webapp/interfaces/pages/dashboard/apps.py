from django.apps import AppConfig


class DashboardConfig(AppConfig):
    name = "webapp.interfaces.pages.dashboard"
