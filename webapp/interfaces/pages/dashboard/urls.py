"""Addresses that belong to no single app."""

from django.urls import path

from webapp.interfaces.pages.dashboard import settings_views, views

app_name = "dashboard"
urlpatterns = [
    path("", views.home, name="home"),
    path("search/", views.search, name="search"),
    path("playground/", views.playground, name="playground"),
    path("playground/token/", views.playground_token, name="playground_token"),
    path("help/", views.help_index, name="help"),
    path("help/<slug:slug>/", views.help_page, name="help_page"),
    path("settings/", settings_views.index, name="settings"),
    path("settings/engines/", settings_views.engine_list, name="settings_engines"),
    path("settings/master-key/", settings_views.master_key, name="settings_master_key"),
    path("settings/about/", settings_views.about, name="settings_about"),
]
