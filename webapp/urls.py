"""Every address of the site."""

from django.urls import include, path

from webapp.api import api
from webapp.health import healthz

urlpatterns = [
    path("healthz", healthz),
    path("api/v1/", api.urls),
    path("internal/", include("webapp.usage.internal")),
    path("accounts/", include("allauth.account.urls")),
]
