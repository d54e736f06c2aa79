"""The clinic's own page and call."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt


def home(request):
    """The page that everybody sees first."""
    return render(request, "portal/home.html")


@csrf_exempt
def scan(request):
    """A scanned sheet, however large."""
    size = sum(len(part) for part in request.FILES["sheet"].chunks())
    return HttpResponse(str(size), content_type="text/plain")


def stock(request):
    """An error in a form of the clinic's own (RFC 9457)."""
    return HttpResponse('{"title": "empty"}', content_type="application/problem+json", status=409)
