"""Addresses of jobs."""

from django.urls import path

from webapp.interfaces.pages.jobs import views

app_name = "jobs"
urlpatterns = [
    path("", views.index, name="index"),
    path("<int:pk>/", views.detail, name="detail"),
    path("<int:pk>/log/", views.log, name="log"),
    path("<int:pk>/cancel/", views.cancel, name="cancel"),
    path("<int:pk>/delete/", views.delete, name="delete"),
    path("<int:pk>/give-up/", views.give_up, name="give_up"),
    path("delete-ended/", views.delete_ended, name="delete_ended"),
    path("<int:pk>/retry/", views.retry, name="retry"),
]
