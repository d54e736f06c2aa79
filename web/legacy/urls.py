"""Addresses of the old calls that do not wait; those that do are in `web.legacy.routing`."""

from __future__ import annotations

from django.urls import re_path

from web.legacy import views

_BASE = r"^api/mri/segmentation"

urlpatterns = [
    re_path(rf"{_BASE}/instances/(?P<instance_id>[^/]+)/frames/?$", views.frames),
    re_path(rf"{_BASE}/requests/?$", views.requests),
    re_path(rf"{_BASE}/status/(?P<request_id>[^/]+)/?$", views.status),
    re_path(rf"{_BASE}/health/?$", views.health),
    re_path(rf"{_BASE}/pending-requests/?$", views.gone),
    re_path(rf"{_BASE}/(?:update-status|complete-request)/(?P<request_id>[^/]+)/?$", views.gone),
    re_path(r"^api/inference/pending/?$", views.gone),
    re_path(r"^api/inference/(?P<request_id>[^/]+)/complete/?$", views.gone),
    re_path(rf"{_BASE}(?:/|$)", views.nothing),
]
