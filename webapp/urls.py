"""Every address of the site."""

from django.urls import include, path

from webapp.interfaces.api.root import api
from webapp.interfaces.internal import gateway
from webapp.interfaces.pages.accounts import urls as accounts
from webapp.interfaces.pages.catalog import urls as catalog
from webapp.interfaces.pages.dashboard import errors
from webapp.interfaces.pages.dashboard import urls as dashboard
from webapp.interfaces.pages.deployments import urls as deployments
from webapp.interfaces.pages.inventory import urls as inventory
from webapp.interfaces.pages.jobs import urls as jobs
from webapp.interfaces.pages.operations.health import healthz
from webapp.interfaces.pages.operations.views import metrics, readyz
from webapp.interfaces.pages.quantisation import urls as quantisation
from webapp.interfaces.pages.samples import urls as samples
from webapp.interfaces.pages.schedules import urls as schedules
from webapp.interfaces.pages.usage import urls as usage

urlpatterns = [
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
    path("api/v1/", api.urls),
    path("internal/", include(gateway)),
    path("", include(dashboard)),
    path("deployments/", include(deployments)),
    path("models/", include(catalog)),
    path("jobs/", include(jobs)),
    path("schedules/", include(schedules)),
    path("quantise/", include(quantisation)),
    path("hosts/", include(inventory)),
    path("keys/", include(accounts)),
    path("team/", include((accounts.team_patterns, "teams"))),
    path("people/", include((accounts.people_patterns, "people"))),
    path("audit/", include((accounts.audit_patterns, "audit"))),
    path("settings/", include((accounts.settings_patterns, "settings"))),
    path("accounts/", include(accounts.sign_in_patterns)),
    path("usage/", include(usage)),
    path("charts/", include(samples)),
]

handler400 = errors.bad_request
handler403 = errors.forbidden
handler404 = errors.not_found
handler500 = errors.server_error
