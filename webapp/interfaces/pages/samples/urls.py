"""Addresses of charts."""

from django.urls import path

from webapp.interfaces.pages.samples import views

app_name = "samples"
urlpatterns = [path("<slug:kind>/<int:pk>/", views.show, name="show")]
