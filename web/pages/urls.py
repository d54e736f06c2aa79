"""Addresses of the pages; a project may include them below a prefix, their scripts follow."""

from __future__ import annotations

from django.urls import path

from web.pages import views

app_name = "labrelay"
urlpatterns = [
    path("", views.study_list, name="studies"),
    path("studies/<str:study_id>/", views.study_page, name="study"),
    path(
        "studies/<str:study_id>/series/<str:series_id>/slices/<int:index>.png",
        views.slice_png,
        name="slice",
    ),
    path("requests/<uuid:request_id>/overlay.json", views.overlay_json, name="overlay"),
]
