"""Addresses of the viewer and of the images for it; a project may include them below a prefix.

They stay beside each other: the viewer finds the images from its own address.
"""

from __future__ import annotations

from django.urls import path

from web.dicomweb.views import dicomweb
from web.viewer import views

app_name = "labrelay_viewer"
urlpatterns = [
    path("ohif/open/<str:study_id>/", views.open_study, name="open"),
    path("ohif/viewer", views.page, name="viewer"),
    path("ohif/", views.root, name="root"),
    path("ohif/<path:name>", views.file, name="file"),
    path("dicom-web/<path:path>", dicomweb, name="dicomweb"),
]
