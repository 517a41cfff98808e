"""Addresses that belong to no single room."""

from django.urls import path

from webapp.dashboard import views

app_name = "dashboard"
urlpatterns = [
    path("", views.home, name="home"),
    path("playground/", views.playground, name="playground"),
    path("playground/token/", views.playground_token, name="playground_token"),
    path("help/", views.help_page, name="help"),
]
