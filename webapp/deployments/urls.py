"""Addresses of deployments."""

from django.urls import path

from webapp.deployments import views

app_name = "deployments"
urlpatterns = [
    path("", views.index, name="index"),
    path("new/", views.new, name="new"),
    path("new/fit/", views.fit, name="fit"),
    path("<int:pk>/", views.detail, name="detail"),
    path("<int:pk>/start/", views.start, name="start"),
    path("<int:pk>/stop/", views.stop, name="stop"),
    path("<int:pk>/delete/", views.delete, name="delete"),
    path("<int:pk>/log/<int:number>/", views.log, name="log"),
]
