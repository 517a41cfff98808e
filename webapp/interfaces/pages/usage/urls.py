"""Addresses of usage."""

from django.urls import path

from webapp.interfaces.pages.usage import views

app_name = "usage"
urlpatterns = [
    path("", views.index, name="index"),
    path("usage.csv", views.as_csv, name="csv"),
    path("requests/", views.request_list, name="requests"),
]
