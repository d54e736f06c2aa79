"""The clinic's own addresses, and Labrelay's."""

from django.contrib.auth.views import LoginView
from django.urls import include, path

from clinic.portal import views

urlpatterns = [
    path("", views.home, name="studies"),
    path("staff/enter/", LoginView.as_view(template_name="portal/enter.html"), name="enter"),
    path("api/stock/", views.stock),
    path("api/scan/", views.scan),
]

urlpatterns += [
    path("", include("web.api_urls")),
    path("mri/", include("web.pages.urls")),
    path("mri/", include("web.viewer.urls")),
]
