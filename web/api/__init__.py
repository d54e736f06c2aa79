"""``/api/v1/``: everything that a program or a page's script can ask of the site."""
