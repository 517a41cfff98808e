"""Every address of the site."""

from django.urls import include, path

from webapp.accounts import urls as accounts
from webapp.api import api
from webapp.health import healthz
from webapp.operations.views import metrics, readyz

urlpatterns = [
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
    path("api/v1/", api.urls),
    path("internal/", include("webapp.usage.internal")),
    path("", include("webapp.dashboard.urls")),
    path("deployments/", include("webapp.deployments.urls")),
    path("models/", include("webapp.catalog.urls")),
    path("jobs/", include("webapp.jobs.urls")),
    path("schedules/", include("webapp.schedules.urls")),
    path("quantise/", include("webapp.quantisation.urls")),
    path("hosts/", include("webapp.inventory.urls")),
    path("keys/", include("webapp.accounts.urls")),
    path("team/", include((accounts.team_patterns, "teams"))),
    path("people/", include((accounts.people_patterns, "people"))),
    path("audit/", include((accounts.audit_patterns, "audit"))),
    path("settings/", include((accounts.settings_patterns, "settings"))),
    path("accounts/", include(accounts.sign_in_patterns)),
    path("usage/", include("webapp.usage.urls")),
    path("charts/", include("webapp.samples.urls")),
]

handler400 = "webapp.dashboard.errors.bad_request"
handler403 = "webapp.dashboard.errors.forbidden"
handler404 = "webapp.dashboard.errors.not_found"
handler500 = "webapp.dashboard.errors.server_error"
