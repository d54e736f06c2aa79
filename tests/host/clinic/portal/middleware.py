"""The clinic's own middleware."""


def stamped(get_response):
    """Write the clinic's mark on every answer."""

    def answer(request):
        response = get_response(request)
        response.headers["X-Clinic"] = "1"
        return response

    return answer
