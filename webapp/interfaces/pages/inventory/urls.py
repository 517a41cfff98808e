"""Addresses of hosts."""

from django.urls import path

from webapp.interfaces.pages.inventory import views

app_name = "inventory"
urlpatterns = [
    path("", views.index, name="index"),
    path("<int:pk>/", views.detail, name="detail"),
    path("<int:pk>/edit/", views.edit, name="edit"),
    path("<int:pk>/drain/", views.drain, name="drain"),
    path("<int:pk>/accept/", views.accept, name="accept"),
    path("<int:pk>/release-hold/", views.release_hold, name="release_hold"),
]
