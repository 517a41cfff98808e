"""Addresses of quantising."""

from django.urls import path

from webapp.interfaces.pages.quantisation import views

app_name = "quantisation"
urlpatterns = [
    path("artifacts/<int:pk>/", views.quantise, name="new"),
    path("artifacts/<int:pk>/preview/", views.preview, name="preview"),
    path("artifacts/<int:pk>/rebuild/", views.rebuild, name="rebuild"),
    path("artifacts/<int:pk>/provenance/", views.show_provenance, name="provenance"),
    path("pick/<slug:slug>/", views.pick, name="pick"),
    path("prompts/", views.prompts, name="prompts"),
    path("prompts/<int:prompts_id>/delete/", views.delete_prompts, name="delete_prompts"),
    path("texts/", views.texts, name="texts"),
    path("texts/<int:text_id>/delete/", views.delete_text, name="delete_text"),
    path("texts/<int:text_id>/owner/", views.text_owner, name="text_owner"),
    path("prompts/<int:prompts_id>/owner/", views.prompts_owner, name="prompts_owner"),
]
