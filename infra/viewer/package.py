"""OHIF's npm package: what of it is used, and what is changed so that it works below a prefix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

#: The npm package (MIT) and the SHA-256 of its tarball.
TARBALL = "@ohif/app@3.13.2"
TARBALL_SHA256 = "b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1"

#: Where the built application lies in the tarball.
ROOT = PurePosixPath("package/dist")

#: 160 of its 208 MB: a model runtime for tools that load their weights from elsewhere, a
#: microscopy viewer, maps for debuggers. The rest is for other installations: a service worker
#: that keeps what it has seen, log-ins at other servers, icons of telephones.
_LEFT_OUT = re.compile(
    r"""(?:ort|dicom-microscopy-viewer|customizations)/.*
      | .*\.map
      | assets/(?!favicon\.ico$|images/).*
      | (?:sw|init-service-worker|google|app-config)\.js
      | (?:oidc-client|es6-shim|polyfill)\.min\.js
      | index\.html | manifest\.json | serve\.json | silent-refresh\.html | _headers | _redirects
    """,
    re.VERBOSE,
)

#: The application's first script; its name holds a hash of its content.
_BUNDLE = re.compile(r"app\.bundle\.[0-9a-f]{16}\.js")

#: The scripts look for each other at the root of the host. Beside itself is where each one finds
#: the others: a script of the page by its element, a worker by its own address.
_PUBLIC_PATH = b'__webpack_require__.p = "/"'
_BESIDE = (
    b"__webpack_require__.p = "
    b'new URL(".", self.document ? document.currentScript.src : self.location.href).href'
)

#: How many scripts say so: the application and its seven kinds of workers.
_PUBLIC_PATHS = 8

#: The same for what a style sheet names.
_ROOT_URL, _BESIDE_URL = b"url(/", b"url("

#: The one function that makes others from text where nothing else would (`ndarray`, by which a
#: segmentation is laid on its images); ours is put before its first line.
_COMPILED = b"function compileConstructor(dtype, dimension) {"
_WRITTEN_OUT = b"\n  return viewsWithoutEval(dtype, dimension, CACHED_CONSTRUCTORS[dtype])"
_VIEWS = Path(__file__).with_name("ndarray.js")

#: How many scripts hold a copy of it.
_COPIES = 3

#: Where the viewer chooses the slice on which it opens a segmentation; ours is put before it.
_FIRST_MARKED = (
    b"if (!firstSegmentedSliceImageId && scalarData.some(value => value !== 0)) {\n"
    b"        firstSegmentedSliceImageId = derivedImages[i].referencedImageId;"
)
_MIDDLE_MARKED = (
    b"if (i === derivedImages.length - 1) {\n"
    b"        firstSegmentedSliceImageId = middleOfLargest(derivedImages);"
)
_MIDDLE = Path(__file__).with_name("middle.js")

#: How many scripts choose it.
_CHOICES = 1

#: What is worth compressing.
_TEXT = frozenset({".js", ".css", ".html", ".svg", ".wasm"})


class UnknownPackage(Exception):
    """The package is not as this file knows it; the text is one sentence."""


def wanted(name: str) -> str | None:
    """The path under the viewer's folder of a member of the tarball, or None to leave it out."""
    path = PurePosixPath(name)
    if name == "package/LICENSE":
        return "LICENSE"
    if not path.is_relative_to(ROOT) or ".." in path.parts:
        return None
    inside = str(path.relative_to(ROOT))
    return None if _LEFT_OUT.fullmatch(inside) else inside


def patch(folder: Path) -> None:
    """Let everything under `folder` find its parts beside itself, and build nothing from text.

    A segmentation opens in the middle of its largest lesion. Raises `UnknownPackage`.
    """
    views = _VIEWS.read_bytes() + _COMPILED + _WRITTEN_OUT
    middle = _MIDDLE.read_bytes() + _MIDDLE_MARKED
    paths = compiled = choices = 0
    for file in folder.rglob("*"):
        if file.suffix == ".js":
            content = file.read_bytes()
            paths += content.count(_PUBLIC_PATH)
            compiled += content.count(_COMPILED)
            choices += content.count(_FIRST_MARKED)
            changed = content.replace(_PUBLIC_PATH, _BESIDE)
            changed = changed.replace(_COMPILED, views).replace(_FIRST_MARKED, middle)
            if changed != content:
                file.write_bytes(changed)
        elif file.suffix == ".css":
            file.write_bytes(file.read_bytes().replace(_ROOT_URL, _BESIDE_URL))
    if (paths, compiled, choices) != (_PUBLIC_PATHS, _COPIES, _CHOICES):
        raise UnknownPackage(
            f"{paths} scripts of OHIF name the root, {compiled} build views from text, {choices} "
            f"choose a slice: {_PUBLIC_PATHS}, {_COPIES} and {_CHOICES} are known"
        )


def bundle_in(folder: Path) -> str:
    """Name of the application's first script. Raises `UnknownPackage`."""
    names = [file.name for file in folder.iterdir() if _BUNDLE.fullmatch(file.name)]
    if len(names) != 1:
        raise UnknownPackage(f"OHIF has {len(names)} first scripts")
    return names[0]


def compressible(folder: Path) -> Iterator[Path]:
    """The files that are shorter compressed."""
    return (file for file in sorted(folder.rglob("*")) if file.suffix in _TEXT)
