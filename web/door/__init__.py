"""The old name of `web.access`, for one more version: a host's settings may name it."""
