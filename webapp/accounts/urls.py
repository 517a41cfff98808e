"""Addresses of API keys."""

from django.urls import path

from webapp.accounts import views

app_name = "accounts"
urlpatterns = [
    path("", views.keys, name="keys"),
    path("new/", views.new_key, name="new"),
    path("<int:pk>/revoke/", views.revoke_key, name="revoke"),
]
