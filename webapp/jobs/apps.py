from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "webapp.jobs"

    def ready(self) -> None:
        from webapp.jobs import deleting, fetching, kinds
        from webapp.jobs.models import JobKind

        kinds.register(JobKind.FETCH, fetching)
        kinds.register(JobKind.DELETE_COPY, deleting)
