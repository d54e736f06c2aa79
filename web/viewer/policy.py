"""Content security policies of the viewer: as strict as it can be started with (docs/security.md).

Set as headers, so that they hold in a host project too, whatever policy its own pages have.
"""

from __future__ import annotations

from collections.abc import Mapping


def _header(directives: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


#: The page. Its codecs are WebAssembly; its parts write style rules into it.
PAGE = _header(
    {
        "default-src": "'none'",
        "script-src": "'self' 'wasm-unsafe-eval'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "worker-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "object-src": "'none'",
    }
)

#: Its scripts and the rest. A policy counts there for a script that runs as a worker: the decoder
#: of compressed images makes functions from text. A worker has no page and no cookies to read,
#: and reaches nothing but this site.
FILE = _header(
    {
        "default-src": "'none'",
        "script-src": "'self' 'unsafe-eval'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
)
