from django.apps import AppConfig


class DeploymentsConfig(AppConfig):
    name = "webapp.deployments"

    def ready(self) -> None:
        from webapp.catalog import uses
        from webapp.deployments import using

        uses.register(self.label, uses.Users(anywhere=using.uses, on_host=using.uses_on))
