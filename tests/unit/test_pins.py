"""What is installed is what was pinned: the files of pins, and pip's refusal of anything else.

pip, uv and the packages are real; the packages are tiny, made here, and no index is asked.
"""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.local.settings import REPOSITORY, LocalSettings, child_environment
from infra.local.steps import SetupError
from infra.pins import install, renew
from tests.installed import installs

#: A pin as uv writes it: name, version, marker, and the hashes below it.
PIN = re.compile(
    r"^(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[0-9][\w.]*)(?P<marker> ; [^\\\n]+)? \\\n"
    r"(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
    re.MULTILINE,
)

#: What CUDA builds of torch bring.
CUDA = ("nvidia", "cuda", "triton")


def pinned(part: str) -> dict[str, str]:
    """Name -> version of a file of pins."""
    text = (install.FOLDER / f"{part}.txt").read_text("utf-8")
    return {found["name"]: found["version"] for found in PIN.finditer(text)}


@pytest.mark.parametrize("part", renew.PARTS)
def test_a_file_of_pins_holds_versions_with_hashes_and_no_address(part: str) -> None:
    text = (install.FOLDER / f"{part}.txt").read_text("utf-8")
    rest = "".join(line for line in PIN.sub("", text).splitlines() if not line.startswith("#"))
    assert rest == ""
    assert len(pinned(part)) == len(PIN.findall(text)) > 0
    assert "://" not in text


def test_no_two_parts_pin_a_package_differently() -> None:
    versions: dict[str, set[str]] = {}
    for part in renew.PARTS:
        for name, version in pinned(part).items():
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("part", ["web", "consumer", "test"])
def test_all_that_an_extra_installs_here_is_pinned_at_the_version_that_is_here(part: str) -> None:
    brought = {
        name: metadata.version(name)
        for name in installs(part)
        if name not in {"torch", "labrelay"} and not name.startswith(CUDA)
    }
    assert brought.items() <= pinned(part).items()


def test_torch_and_what_its_builds_differ_in_are_left_to_its_own_step() -> None:
    for part in renew.PARTS:
        assert [name for name in pinned(part) if name.startswith(("torch", *CUDA))] == []
    assert "django" not in pinned("consumer")
    assert not {"monai", "sympy"} & set(pinned("web"))


def test_what_torch_needs_beside_cuda_is_what_the_pins_are_made_for() -> None:
    (said,) = tomllib.loads((install.FOLDER / "uv.toml").read_text("utf-8"))["dependency-metadata"]
    needs = {
        str(need)
        for need in map(Requirement, metadata.requires("torch") or [])
        if need.marker is None and not need.name.startswith(CUDA)
    }
    assert {str(Requirement(text)) for text in said["requires-dist"]} == needs
    assert install.torch_pin() == f"torch=={said['version']}"


def test_only_torch_sees_the_further_index_and_only_torch_comes_without_a_hash() -> None:
    settings = LocalSettings(torch_requirement="torch==2.13.0+cpu", torch_index="https://i.example")
    build, rest, torch, project = (
        step.command for step in install.steps(Path("python"), "demo", settings)
    )

    assert torch[-4:] == (
        *("--extra-index-url", "https://i.example"),
        *("torch==2.13.0", "torch==2.13.0+cpu"),
    )
    for command in (build, rest):
        assert {"--require-hashes", "--no-deps", "--no-build-isolation"} <= set(command)
        assert "--extra-index-url" not in command
    assert {"--no-index", "--no-build-isolation"} <= set(project)
    assert project[-1].endswith("[demo]")


def test_a_site_is_installed_without_torch() -> None:
    titles = [step.title for step in install.steps(Path("python"), "web", LocalSettings())]
    assert len(titles) == 3
    assert not any("torch" in title for title in titles)


def wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    tag: str = "py3-none-any",
    needs: Sequence[str] = (),
) -> str:
    """Write a wheel of one empty module, and return its SHA-256."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    lines = "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = {
        f"{module}_module.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
    file = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(file, "w") as made:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            made.writestr(path, text)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an empty virtual environment."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run((sys.executable, "-m", "venv", str(venv)), check=True, timeout=120)
    return venv / "bin" / "python"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of wheels that is all that pip sees, with `builder` 1.0 pinned in build.txt."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for variable, value in (
        ("PIP_CONFIG_FILE", "/dev/null"),
        ("PIP_NO_INDEX", "1"),
        ("PIP_FIND_LINKS", str(folder)),
        ("PIP_NO_CACHE_DIR", "1"),
        ("UV_NO_CACHE", "1"),
    ):
        monkeypatch.setenv(variable, value)
    pin = f"builder==1.0 --hash=sha256:{wheel(folder, 'builder')}\n"
    (tmp_path / "build.txt").write_text(pin)
    return folder


def install_pins(python: Path, folder: Path) -> None:
    """Run the steps of a site that install by hash; the pins lie in `folder`."""
    install.run(install.steps(python, "web", LocalSettings(), folder=folder)[:2])


def has(python: Path, module: str) -> bool:
    command = (str(python), "-c", f"import {module}")
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_pinned_file_is_installed(python: Path, shelf: Path) -> None:
    digest = wheel(shelf, "right-one")
    others = "0" * 64
    (shelf.parent / "web.txt").write_text(
        f"right-one==1.0 --hash=sha256:{others} --hash=sha256:{digest}\n"
    )
    install_pins(python, shelf.parent)
    assert has(python, "right_one_module")


def test_another_file_than_the_pinned_one_stops_the_set_up_with_a_sentence(
    python: Path, shelf: Path
) -> None:
    fair, pin = wheel(shelf, "fair"), wheel(shelf, "tampered")
    (shelf.parent / "web.txt").write_text(
        f"fair==1.0 --hash=sha256:{fair}\ntampered==1.0 --hash=sha256:{pin}\n"
    )
    wheel(shelf, "tampered", needs=["something-else"])

    with pytest.raises(SetupError) as refused:
        install_pins(python, shelf.parent)

    assert str(refused.value).startswith(
        "what the package index gave is not the file that was pinned: tampered==1.0; nothing of"
    )
    assert not has(python, "tampered_module")
    assert not has(python, "fair_module")


def test_a_pin_without_a_hash_stops_the_set_up_with_a_sentence(python: Path, shelf: Path) -> None:
    wheel(shelf, "hashless")
    (shelf.parent / "web.txt").write_text("hashless==1.0\n")

    with pytest.raises(SetupError, match=r"^a pin names no hash: hashless==1\.0; nothing of this"):
        install_pins(python, shelf.parent)
    assert not has(python, "hashless_module")


def test_what_a_pinned_package_needs_is_not_fetched_without_a_pin(
    python: Path, shelf: Path
) -> None:
    digest = wheel(shelf, "greedy", needs=["unpinned"])
    wheel(shelf, "unpinned")
    (shelf.parent / "web.txt").write_text(f"greedy==1.0 --hash=sha256:{digest}\n")
    install_pins(python, shelf.parent)
    assert has(python, "greedy_module")
    assert not has(python, "unpinned_module")


#: A project with the parts of ours.
PROJECT = """
[build-system]
requires = ["builder"]
[project]
name = "tiny"
version = "1"
requires-python = ">=3.11"
[project.optional-dependencies]
web = ["plain"]
consumer = ["plain", "compiled", "torch==2.13.0"]
test = ["tiny[web,consumer]", "tester"]
"""

WHEELS = [
    f"cp3{minor}-cp3{minor}-manylinux_2_28_{machine}"
    for minor in (11, 12, 13)
    for machine in ("x86_64", "aarch64")
]


@pytest.fixture
def project(tmp_path: Path, shelf: Path) -> Path:
    """A project whose packages lie on the shelf."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    for name in ("plain", "tester", *map(canonicalize_name, needs_of_torch())):
        wheel(shelf, name, "99.0")
    wheel(shelf, "torch", "2.13.0", WHEELS[0], needs=["nvidia-cublas"])
    return folder


def needs_of_torch() -> list[str]:
    (said,) = tomllib.loads((install.FOLDER / "uv.toml").read_text("utf-8"))["dependency-metadata"]
    return [Requirement(text).name for text in said["requires-dist"]]


def renewed(project: Path, shelf: Path, into: Path, *arguments: str) -> dict[str, str]:
    """Make the pins from an index of what lies on the shelf, which says the hash of each file."""
    index = shelf.parent / "index"
    for file in shelf.iterdir():
        page = index / canonicalize_name(file.name.split("-")[0]) / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        with page.open("a") as lines:
            lines.write(f'<a href="{file.as_uri()}#sha256={digest}">{file.name}</a>\n')
    files = renew.renew(("--default-index", index.as_uri(), *arguments), project, into)
    return {file.stem: file.read_text("utf-8") for file in files}


def test_pins_are_made_for_every_machine_with_torch_left_out_and_no_address(
    project: Path, shelf: Path, tmp_path: Path
) -> None:
    into = tmp_path / "made"
    into.mkdir()
    hashes = {wheel(shelf, "compiled", "2.0", tag) for tag in WHEELS}

    made = renewed(project, shelf, into)

    assert set(made) == {"test", "consumer", "web", "build"}
    (compiled,) = (pin for pin in PIN.finditer(made["consumer"]) if pin["name"] == "compiled")
    assert set(re.findall("[0-9a-f]{64}", compiled["hashes"])) == hashes
    names = {pin["name"] for pin in PIN.finditer(made["consumer"])}
    assert names == {"plain", "compiled", *map(canonicalize_name, needs_of_torch())}
    assert [pin["name"] for pin in PIN.finditer(made["web"])] == ["plain"]
    assert [pin["name"] for pin in PIN.finditer(made["build"])] == ["builder"]
    assert not any("://" in text or str(tmp_path) in text for text in made.values())


def test_a_version_that_fits_stays_until_an_upgrade_is_asked_for(
    project: Path, shelf: Path, tmp_path: Path
) -> None:
    into = tmp_path / "made"
    into.mkdir()
    for tag in WHEELS:
        wheel(shelf, "compiled", "2.0", tag)
    first = renewed(project, shelf, into)
    wheel(shelf, "plain", "99.1")

    assert renewed(project, shelf, into) == first
    assert "plain==99.1" in renewed(project, shelf, into, "--upgrade")["web"]


def test_a_pin_without_a_wheel_for_one_machine_leaves_the_pins_as_they_were(
    project: Path, shelf: Path, tmp_path: Path
) -> None:
    into = tmp_path / "made"
    into.mkdir()
    (into / "web.txt").write_text("# before\n")
    for tag in WHEELS[:-1]:
        wheel(shelf, "compiled", "2.0", tag)

    with pytest.raises(renew.RenewError, match=r"^not every pin of test can .* 3\.13, aarch64.*"):
        renewed(project, shelf, into)
    assert [file.name for file in into.iterdir()] == ["web.txt"]
    assert (into / "web.txt").read_text() == "# before\n"


def test_the_usage_of_the_installer_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["venv"], ["venv", "demo"]):
        assert install.main(arguments) == 2
    assert set(capsys.readouterr().err.splitlines()) == {
        "usage: python3.11 -m infra.pins VENV web|consumer"
    }


def test_the_make_target_is_the_tested_path() -> None:
    said = subprocess.run(
        ("make", "-n", "constraints", "ARGS=--upgrade"),
        cwd=REPOSITORY,
        # Not below the make that runs the tests: it would announce its folder.
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == ".venv/bin/python -m infra.pins.renew --upgrade"
