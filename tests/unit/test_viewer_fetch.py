"""The viewer is fetched whole, as it was pinned, or the set-up says what it goes without."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.brain.fetch import FetchError
from infra.demo.bootstrap import SetupError, fetch_viewer
from infra.viewer import fetch, package
from infra.viewer.fetch import Viewer, unpack
from infra.viewer.package import UnknownPackage, wanted
from web.viewer.files import ViewerMissing, files, is_there

ROOT_PATH = '__webpack_require__.p = "/"'
COMPILED = "function compileConstructor(dtype, dimension) {"
MARKED = (
    "if (!firstSegmentedSliceImageId && scalarData.some(value => value !== 0)) {\n"
    "        firstSegmentedSliceImageId = derivedImages[i].referencedImageId;"
)
BUNDLE = "app.bundle.0123456789abcdef.js"


def tarball(place: Path, *, scripts: int = 8, copies: int = 3, choices: int = 1) -> Path:
    """A small package with the parts that the set-up looks for."""
    content = {
        "package/LICENSE": "MIT",
        "package/dist/app.bundle.css": "@font-face{src:url(/a34f9d1faa5f3315.woff2)}",
        "package/dist/app-config.js": "window.config = {elsewhere: true}",
        "package/dist/ort/large.wasm": "x",
        "package/dist/index.html": "theirs",
        "package/dist/assets/favicon.ico": "x",
        f"package/dist/{BUNDLE}": f"{ROOT_PATH}; {COMPILED} old }}",
        f"package/dist/{BUNDLE}.map": "x",
    }
    for number in range(1, scripts):
        text = ROOT_PATH + (COMPILED if number < copies else "")
        text += MARKED + "}" if number <= choices else ""
        content[f"package/dist/{number}.bundle.0123456789abcdef.js"] = text
    file = place / "ohif.tgz"
    with tarfile.open(file, "w:gz") as archive:
        for name, text in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return file


def no_download(title: str, command: Sequence[str]) -> None:
    raise AssertionError(f"{title}: {command}")


def test_the_folder_holds_what_is_used_patched_and_compressed(tmp_path: Path) -> None:
    made = unpack(tarball(tmp_path), tmp_path / "viewer")
    names = {str(file.relative_to(made)) for file in made.rglob("*") if file.is_file()}
    assert {"LICENSE", BUNDLE, f"{BUNDLE}.gz", "assets/favicon.ico", "app-config.js"} <= names
    assert not {name for name in names if "ort/" in name or name.endswith(".map")}
    for script in made.glob("*.bundle.*.js"):
        assert ROOT_PATH not in script.read_text("utf-8")
        assert gzip.decompress(Path(f"{script}.gz").read_bytes()) == script.read_bytes()
    assert "url(a34f" in (made / "app.bundle.css").read_text("utf-8")
    assert f'src="{BUNDLE}"' in (made / "index.html").read_text("utf-8")
    assert Viewer(made).is_there()


def test_the_configuration_names_no_other_host(tmp_path: Path) -> None:
    made = unpack(tarball(tmp_path), tmp_path / "viewer")
    for name in fetch.OWN:
        text = (made / name).read_text("utf-8")
        assert "http://" not in text
        assert "https://" not in text


@pytest.mark.parametrize("changed", [{"scripts": 7}, {"copies": 2}, {"choices": 0}])
def test_a_package_that_is_not_as_known_is_refused(tmp_path: Path, changed: dict[str, int]) -> None:
    with pytest.raises(UnknownPackage):
        unpack(tarball(tmp_path, **changed), tmp_path / "viewer")


@pytest.mark.parametrize(
    "name",
    [
        "package/dist/../../../etc/passwd",
        "/etc/passwd",
        "package/package.json",
        "package/dist/sw.js",
        "package/dist/oidc-client.min.js",
        "package/dist/dicom-microscopy-viewer/index.worker.min.js",
    ],
)
def test_what_is_not_used_is_left_out(name: str) -> None:
    assert wanted(name) is None


def test_a_download_that_is_not_the_pinned_one_is_not_used(tmp_path: Path) -> None:
    def other(_title: str, command: Sequence[str]) -> None:
        tarball(Path(command[command.index("--pack-destination") + 1]))

    viewer = Viewer(tmp_path / "viewer")
    with pytest.raises(FetchError, match="SHA-256"):
        viewer.ensure(other)
    assert not viewer.folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_it_is_fetched_again_when_our_part_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tarball(tmp_path)
    monkeypatch.setattr(
        fetch, "TARBALL_SHA256", fetch.hashlib.sha256(file.read_bytes()).hexdigest()
    )
    fetched = []

    def run(title: str, command: Sequence[str]) -> None:
        fetched.append(title)
        folder = Path(command[command.index("--pack-destination") + 1])
        (folder / "ohif.tgz").write_bytes(file.read_bytes())

    viewer = Viewer(tmp_path / "var" / "viewer")
    viewer.ensure(run)
    viewer.ensure(no_download)
    (viewer.folder / fetch.STAMP).write_text("an older one")
    viewer.ensure(run)
    assert len(fetched) == 2
    assert viewer.is_there()


@pytest.mark.parametrize("there", ["data.txt", ".git/config"])
def test_a_folder_that_holds_something_else_is_never_replaced(tmp_path: Path, there: str) -> None:
    kept = tmp_path / "viewer" / there
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    with pytest.raises(FetchError, match="holds no viewer"):
        Viewer(tmp_path / "viewer").ensure(no_download)
    assert kept.read_text() == "mine"


def test_a_file_in_the_place_of_the_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "viewer").write_text("mine")
    with pytest.raises(FetchError, match="holds no viewer"):
        Viewer(tmp_path / "viewer").ensure(no_download)


def test_a_folder_that_cannot_be_looked_into_is_no_viewer(settings: Any) -> None:
    unreadable = settings.SITE.model_copy(update={"ohif_dir": Path("/" + "x" * 300)})
    settings.SITE = unreadable
    assert not is_there()
    with pytest.raises(ViewerMissing):
        files()


def test_without_npm_or_network_the_demo_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch.shutil, "which", lambda _: None)
    fetch_viewer(Viewer(tmp_path / "viewer"), needed=False)
    assert "set-up: going on without the viewer: npm is missing" in capsys.readouterr().out
    with pytest.raises(SetupError, match="the viewer could not be fetched: npm is missing"):
        fetch_viewer(Viewer(tmp_path / "viewer"), needed=True)


def test_what_the_set_up_fetched_is_complete_and_not_fetched_again() -> None:
    viewer = Viewer()
    assert viewer.is_there(), "the viewer is missing: run `make setup-test`"
    viewer.ensure(no_download)
    page = (viewer.folder / "index.html").read_text("utf-8")
    assert f'src="{package.bundle_in(viewer.folder)}"' in page


def test_the_views_that_are_written_out_are_those_that_ndarray_builds(tmp_path: Path) -> None:
    """ndarray's own tests in short, without a function made from text."""
    script = tmp_path / "views.mjs"
    views = (fetch.HERE / "ndarray.js").read_text("utf-8")
    script.write_text(f"function order() {{ return [0, 1]; }}\n{views}\n{VIEWS}", encoding="utf-8")
    node = ("node", "--disallow-code-generation-from-strings", str(script))
    done = subprocess.run(node, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_a_segmentation_opens_in_the_middle_of_its_largest_lesion(tmp_path: Path) -> None:
    script = tmp_path / "middle.mjs"
    script.write_text(f"{(fetch.HERE / 'middle.js').read_text('utf-8')}\n{MIDDLE}", "utf-8")
    done = subprocess.run(("node", str(script)), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


MIDDLE = """
import assert from "node:assert";
const slices = (...marked) =>
  marked.map((pixels, place) => ({
    referencedImageId: `slice ${place}`,
    voxelManager: { getScalarData: () => Uint8Array.from(pixels) },
  }));
assert.equal(middleOfLargest(slices([0, 0], [1, 0], [1, 1], [1, 0])), "slice 2");
assert.equal(middleOfLargest(slices([0], [1], [1], [1], [0])), "slice 2");
assert.equal(middleOfLargest(slices([1], [1])), "slice 0");
// Segment 2 is a smaller lesion, with a larger slice all the same.
assert.equal(middleOfLargest(slices([2, 2, 2], [1, 1, 0], [1, 0, 0], [0, 0, 0])), "slice 1");
assert.equal(middleOfLargest(slices([0], [2], [0])), "slice 1");
assert.equal(middleOfLargest(slices([0], [0])), null);
console.log("done");
"""

VIEWS = """
import assert from "node:assert";
const list = [];
for (let dimension = -1; dimension < 4; dimension += 1) {
  list.push(viewsWithoutEval("uint8", dimension, list));
}
const data = Uint8Array.from({ length: 12 }, (_value, place) => place);
const view = list[3](data, [3, 4], [4, 1], 0);
const rows = (it) =>
  Array.from({ length: it.shape[0] }, (_r, r) =>
    Array.from({ length: it.shape[1] }, (_c, c) => it.get(r, c)),
  );
assert.deepEqual(rows(view), [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]);
assert.deepEqual(rows(view.transpose(1, 0)), [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]);
assert.deepEqual(rows(view.step(-1, 1)), [[8, 9, 10, 11], [4, 5, 6, 7], [0, 1, 2, 3]]);
assert.deepEqual(rows(view.step(2, -2)), [[3, 1], [11, 9]]);
assert.deepEqual(rows(view.lo(1, 2)), [[6, 7], [10, 11]]);
assert.deepEqual(rows(view.hi(2, 1)), [[0], [4]]);
assert.deepEqual(view.pick(1, undefined).shape, [4]);
assert.equal(view.pick(1, undefined).get(2), 6);
assert.equal(view.pick(2, 3).valueOf(), 11);
assert.equal(view.size, 12);
assert.equal(view.index(2, 1), 9);
view.transpose(1, 0).set(3, 2, 200);
assert.equal(data[11], 200);
assert.equal(list[0]([]).size, 0);
console.log("done");
"""
