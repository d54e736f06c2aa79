"""The series of a folder: every Part 10 file below it, archives unpacked, taken by their UIDs."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from pydicom import dcmread

#: Bytes of one unpacked file, and of all of one set.
_FILE_BYTES = 512 * 1024**2
_SET_BYTES = 4 * 1024**3

#: Files of one series that are looked at; of more the first.
MAX_FILES = 6000

_TAGS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality")


@dataclass(frozen=True)
class Item:
    """One file and what it says of itself."""

    path: Path
    study_uid: str
    series_uid: str
    instance_uid: str
    modality: str


@dataclass(frozen=True)
class FoundSeries:
    """The files of one series, each instance once."""

    study_uid: str
    series_uid: str
    modality: str
    #: The folder of its first file in the set, as the set's repository has it.
    place: str
    items: tuple[Item, ...]
    #: 0, or which copy it is: sets hold the same instances in several encodings.
    copy: int

    @property
    def key(self) -> str:
        """A short name for it, the same in each run."""
        text = f"{self.study_uid}\n{self.series_uid}\n{self.copy}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def series_below(folder: Path, unpacked: Path) -> list[FoundSeries]:
    """All series below a folder, in the order of their places; archives go to `unpacked`.

    What the files say is kept beside `unpacked`: of a large set it takes minutes to ask again.
    """
    found: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in _items(
        (folder, _unpacked(folder, unpacked)), unpacked.with_name(f"{unpacked.name}.index")
    ):
        found[item.study_uid, item.series_uid].append(item)
    series = []
    for (study_uid, series_uid), items in found.items():
        for copy, once in enumerate(_copies(items)):
            base = unpacked if once[0].path.is_relative_to(unpacked) else folder
            place = once[0].path.parent.relative_to(base).as_posix()
            series.append(
                FoundSeries(study_uid, series_uid, once[0].modality, place, tuple(once), copy)
            )
    return sorted(series, key=lambda one: (one.place, one.copy, one.series_uid))


def _items(roots: tuple[Path, ...], index: Path) -> list[Item]:
    if index.is_file():
        lines = json.loads(index.read_text(encoding="utf-8"))
        return [Item(roots[root] / path, *rest) for root, path, *rest in lines]
    lines = []
    items = []
    for number, root in enumerate(roots):
        for path in sorted(root.rglob("*")):
            item = _item(path) if path.is_file() and not _hidden(path, root) else None
            if item is not None:
                items.append(item)
                lines.append((number, str(path.relative_to(root)), *astuple(item)[1:]))
    index.write_text(json.dumps(lines), encoding="utf-8")
    return items


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".git") for part in path.relative_to(root).parts)


def _item(path: Path) -> Item | None:
    """What a file says of itself; None of one that is no Part 10 file or has no UIDs."""
    try:
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                return None
        ds = dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        study, series, instance = (str(ds.get(tag) or "") for tag in _TAGS[:3])
        modality = str(ds.get("Modality") or "")
    except Exception:  # noqa: BLE001 - pydicom raises many types on what is no DICOM
        return None
    if not (study and series and instance):
        return None
    return Item(path, study, series, instance, modality)


def _copies(items: list[Item]) -> list[list[Item]]:
    """The items of one series so that each instance comes once: by folder, then by their order.

    The same bytes under two names are one file.
    """
    if len({item.instance_uid for item in items}) == len(items):
        return [items[:MAX_FILES]]
    folders: dict[Path, list[Item]] = defaultdict(list)
    for item in items:
        folders[item.path.parent].append(item)
    copies: list[list[Item]] = []
    seen: set[bytes] = set()
    for members in folders.values():
        turns: dict[str, int] = defaultdict(int)
        here: list[list[Item]] = []
        for item in members:
            digest = hashlib.sha256(item.path.read_bytes()).digest()
            if digest in seen:
                continue
            seen.add(digest)
            turn = turns[item.instance_uid]
            turns[item.instance_uid] += 1
            here += [[]] if turn == len(here) else []
            here[turn].append(item)
        copies += here
    return [copy[:MAX_FILES] for copy in copies if copy]


def _unpacked(folder: Path, target: Path) -> Path:
    """Unpack every archive below the folder, once."""
    done = target / ".done"
    if not done.is_file():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        left = _SET_BYTES
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not _hidden(path, folder):
                into = target / path.relative_to(folder)
                for name, data in _members(path):
                    left -= len(data)
                    if left > 0 and data[128:132] == b"DICM":
                        file = into.parent / name if name == into.stem else into / name
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_bytes(data)
        done.touch()
    return target


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of what an archive holds; nothing of one that cannot be read."""
    name = path.name.lower()
    try:
        if name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    if not entry.is_dir() and 132 < entry.file_size <= _FILE_BYTES:
                        yield _plain(entry.filename), archive.read(entry)
        elif name.endswith((".tar.gz", ".tgz", ".tar", ".tar.bz2")):
            with tarfile.open(path) as archive:
                for member in archive:
                    if member.isfile() and 132 < member.size <= _FILE_BYTES:
                        content = archive.extractfile(member)
                        yield _plain(member.name), content.read() if content else b""
        elif name.endswith(".gz"):
            with gzip.open(path) as file:
                yield path.stem, file.read(_FILE_BYTES)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, RuntimeError):
        return
    except NotImplementedError:
        return


def _plain(name: str) -> str:
    """A member's name that stays below the folder it is put into."""
    return "/".join(part for part in Path(name).parts if part not in ("/", "..", "."))
