"""The clinic's own page and call."""

from django.http import HttpResponse
from django.shortcuts import render


def home(request):
    """The page that everybody sees first."""
    return render(request, "portal/home.html")


def stock(request):
    """An error in a form of the clinic's own (RFC 9457)."""
    return HttpResponse('{"title": "empty"}', content_type="application/problem+json", status=409)
