"""Addresses of models."""

from django.urls import path

from webapp.catalog import views

app_name = "catalog"
urlpatterns = [
    path("", views.index, name="index"),
    path("import/", views.import_file, name="import"),
    path("<slug:slug>/", views.detail, name="detail"),
]
