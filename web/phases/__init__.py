"""Which series and images of a study are the phases of a request."""
