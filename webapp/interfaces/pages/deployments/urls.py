"""Addresses of deployments."""

from django.urls import path

from webapp.interfaces.pages.deployments import views, views_edit, views_history

app_name = "deployments"
urlpatterns = [
    path("", views.index, name="index"),
    path("bulk/", views.bulk, name="bulk"),
    path("new/", views_edit.new, name="new"),
    path("new/fit/", views_edit.fit, name="fit"),
    path("presets/<int:pk>/forget/", views_edit.forget_preset, name="forget_preset"),
    path("<int:pk>/", views.detail, name="detail"),
    path("<int:pk>/edit/", views_edit.edit, name="edit"),
    path("<int:pk>/edit/change/", views_edit.change, name="change"),
    path("<int:pk>/preset/", views_edit.keep_preset, name="keep_preset"),
    path("<int:pk>/start/", views.start, name="start"),
    path("<int:pk>/stop/", views.stop, name="stop"),
    path("<int:pk>/scale/", views.scale, name="scale"),
    path("<int:pk>/restart/", views.restart, name="restart"),
    path("<int:pk>/rollback/<int:revision>/", views.roll_back, name="roll_back"),
    path("<int:pk>/delete/", views.delete, name="delete"),
    path("<int:pk>/history/", views_history.history, name="history"),
    path("<int:pk>/log/<int:number>/", views_history.log, name="log"),
    path("<int:pk>/share/", views_history.share, name="share"),
    path("<int:pk>/share/<int:team>/withdraw/", views_history.withdraw, name="withdraw"),
]
