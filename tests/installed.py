"""What an extra of the project brings, by the metadata of what is installed here."""

from __future__ import annotations

import tomllib
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.local.settings import REPOSITORY


def installs(extra: str) -> set[str]:
    """The distributions that ``pip install .[extra]`` brings here, by their metadata."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    left = [
        Requirement(text)
        for text in (*project["dependencies"], *project["optional-dependencies"][extra])
    ]
    found: set[str] = set()
    while left:
        wanted = left.pop()
        key = f"{canonicalize_name(wanted.name)}[{','.join(sorted(wanted.extras))}]"
        if key in found:
            continue
        try:
            needs = metadata.requires(wanted.name) or []
        except metadata.PackageNotFoundError:
            # For another build, such as the CUDA libraries of torch.
            continue
        found |= {key, canonicalize_name(wanted.name)}
        extras = wanted.extras or {""}
        left += [
            need
            for need in map(Requirement, needs)
            if any(need.marker is None or need.marker.evaluate({"extra": e}) for e in extras)
        ]
    return {name for name in found if "[" not in name}
