"""Each side imports nothing that its own extra does not install.

An empty environment with ``.[consumer]`` alone takes minutes to make. Here all other installed
distributions are hidden from a fresh interpreter, which then imports every module of that side.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.utils import canonicalize_name

from infra.local.settings import REPOSITORY, child_environment
from tests.installed import installs

#: Reads what to hide, hides it, and imports the package with all below it.
SCRIPT = """
import importlib, importlib.abc, json, pkgutil, sys
package, hidden, first = json.loads(sys.argv[1])

class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"hidden: {name}", name=name)

sys.meta_path.insert(0, Hide())
exec(first)
root = importlib.import_module(package)
names = [m.name for m in pkgutil.walk_packages(root.__path__, f"{package}.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(json.dumps([len(names), sorted({n.partition(".")[0] for n in sys.modules})]))
"""

#: What a side does before its modules can be imported, or only when it works.
BEFORE = {
    "web": "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'web.settings';"
    "django.setup()",
    "consumer": "from consumer.children import reader; reader.start()",
}


def imported_alone(package: str) -> tuple[int, set[str]]:
    """Import it with everything else hidden: how many modules, and which names are loaded."""
    allowed = installs(package) | {"labrelay", "setuptools"}
    hidden = [
        name
        for name, owners in metadata.packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & allowed
    ]
    done = subprocess.run(
        (sys.executable, "-c", SCRIPT, json.dumps([package, hidden, BEFORE[package]])),
        cwd=REPOSITORY,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    count, names = json.loads(done.stdout)
    return count, set(names)


@pytest.mark.parametrize(
    ("package", "foreign"),
    [
        ("web", {"torch", "monai", "ignite", "pika", "highdicom", "pebble", "scipy"}),
        ("consumer", {"django", "channels", "aio_pika", "ninja", "uvicorn", "httpx", "torch"}),
    ],
)
def test_a_side_runs_on_what_its_own_extra_installs(package: str, foreign: set[str]) -> None:
    count, names = imported_alone(package)
    assert count > 20
    assert not names & foreign


def test_the_site_installs_no_torch_and_the_lab_no_django() -> None:
    web, lab = installs("web"), installs("consumer")
    assert {"torch", "monai", "pytorch-ignite", "highdicom"} <= lab - web
    assert {"django", "channels", "aio-pika", "django-ninja", "uvicorn"} <= web - lab
