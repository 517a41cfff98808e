"""Addresses of models."""

from django.urls import path

from webapp.interfaces.pages.catalog import hub_views, image_views, views

app_name = "catalog"
urlpatterns = [
    path("", views.index, name="index"),
    path("import/", views.import_file, name="import"),
    path("address/", views.from_address, name="address"),
    path("disk/", views.disk_use, name="disk"),
    path("artifacts/<int:pk>/fetch/", views.fetch_to_host, name="fetch"),
    path("artifacts/<int:pk>/delete/", views.delete_artifact, name="delete"),
    path("artifacts/<int:pk>/owner/", views.owner, name="owner"),
    path("copies/<int:pk>/delete/", views.delete_copy, name="delete_copy"),
    path("hubs/", hub_views.index, name="hubs"),
    path("hubs/new/", hub_views.edit, name="new_hub"),
    path("hubs/<int:pk>/", hub_views.edit, name="hub"),
    path("hubs/<int:pk>/delete/", hub_views.delete, name="delete_hub"),
    path("hubs/<int:pk>/repo/", hub_views.repo, name="repo"),
    path("hubs/<int:pk>/get/", hub_views.get, name="get"),
    path("hubs/<int:pk>/approve/", hub_views.approve, name="approve"),
    path("images/", image_views.index, name="images"),
    path("images/<int:pk>/forbid/", image_views.forbid, name="forbid_image"),
    path("<slug:slug>/", views.detail, name="detail"),
]
