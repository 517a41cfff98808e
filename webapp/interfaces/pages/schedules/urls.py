"""Addresses of schedules and notification targets."""

from django.urls import path

from webapp.interfaces.pages.schedules import views, views_targets

app_name = "schedules"
urlpatterns = [
    path("", views.index, name="index"),
    path("new/", views.new, name="new"),
    path("<int:pk>/", views.detail, name="detail"),
    path("<int:pk>/edit/", views.edit, name="edit"),
    path("<int:pk>/pause/", views.pause, name="pause"),
    path("<int:pk>/resume/", views.resume, name="resume"),
    path("<int:pk>/run/", views.run, name="run"),
    path("<int:pk>/delete/", views.delete, name="delete"),
    path("runs/<int:run_id>/cancel/", views.cancel, name="cancel"),
    path("notifications/<slug:slug>/", views_targets.index, name="targets"),
    path("targets/<int:target_id>/edit/", views_targets.edit, name="edit_target"),
    path("targets/<int:target_id>/test/", views_targets.test, name="test_target"),
    path("targets/<int:target_id>/delete/", views_targets.delete, name="delete_target"),
]
