"""The old name of `web.pages`, for one more version: a host project includes its addresses."""
