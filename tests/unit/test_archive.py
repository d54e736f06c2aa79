from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from pydicom.uid import generate_uid

from consumer.errors import (
    ArchiveUnavailable,
    ResultMisfiled,
    SeriesNotFound,
    TooLarge,
    UploadRejected,
)
from consumer.memory import MemoryFile, map_bytes
from consumer.orthanc import Archive
from consumer.orthanc.multipart import PartCount
from tests.dicom_factory import Series, part10

STUDY, SERIES = "1.2.3", "1.2.3.4"
INSTANCE = "01234567-01234567-01234567-01234567-01234567"


@pytest.fixture
def archive(orthanc) -> Archive:
    return Archive(orthanc.url, orthanc.user, orthanc.password)


@contextmanager
def answering(
    body: bytes = b"",
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    cut: int = 0,
    silence: float = 0.0,
) -> Iterator[tuple[Archive, list[str]]]:
    """An archive that misbehaves as Orthanc cannot be made to: one answer to every request."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers['Accept-Encoding']}")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            time.sleep(silence)
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) - cut])
            self.close_connection = True

        do_GET = do_POST = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield Archive(url, "lab", "secret", timeout=(1.0, 0.5)), asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def stored(archive: Archive, series: Series) -> list[bytes]:
    files = series.files()
    for data in files:
        archive.store(data)
    return files


def download(archive: Archive, study_uid: str = STUDY, series_uid: str = SERIES) -> list[bytes]:
    with MemoryFile() as memory:
        ranges = archive.download_series(study_uid, series_uid, memory)
        with map_bytes(memory.path) as body:
            return [body[offset : offset + length] for offset, length in ranges]


def test_a_series_comes_back_file_by_file_as_it_was_stored(archive):
    series = Series()
    files = stored(archive, series)
    assert sorted(download(archive, series.study_uid, series.series_uid)) == sorted(files)


def test_two_series_share_one_memory_file(archive):
    pre = Series()
    post = Series(study_uid=pre.study_uid)
    files = stored(archive, pre) + stored(archive, post)
    with MemoryFile() as memory:
        ranges = [
            found
            for series in (pre, post)
            for found in archive.download_series(series.study_uid, series.series_uid, memory)
        ]
        with map_bytes(memory.path) as body:
            assert sorted(body[o : o + n] for o, n in ranges) == sorted(files)


def test_a_series_that_is_not_there_is_not_found(archive):
    series = Series()
    stored(archive, series)
    with pytest.raises(SeriesNotFound):
        download(archive, series.study_uid, generate_uid())
    with pytest.raises(SeriesNotFound):
        download(archive, generate_uid(), series.series_uid)


def test_a_series_over_the_limit_is_too_large(orthanc, archive):
    series = Series()
    stored(archive, series)
    small = Archive(orthanc.url, orthanc.user, orthanc.password, max_series_bytes=2000)
    with pytest.raises(TooLarge):
        download(small, series.study_uid, series.series_uid)


def test_a_series_of_more_instances_than_the_limit_is_too_large(orthanc, archive):
    series = Series()
    stored(archive, series)
    for limit, refused in ((5, True), (6, False)):
        narrow = Archive(orthanc.url, orthanc.user, orthanc.password, max_series_instances=limit)
        if refused:
            with pytest.raises(TooLarge, match="more than 5 instances"):
                download(narrow, series.study_uid, series.series_uid)
        else:
            assert len(download(narrow, series.study_uid, series.series_uid)) == 6


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_parts_are_counted_whatever_pieces_they_come_in(size):
    body = multipart(*PARTS)
    count = PartCount(b"edge")
    found = [count.add(body[place : place + size]) for place in range(0, len(body), size)]
    # Three begin, one text looks like another, and the end looks like one more.
    assert found[-1] == 5
    assert found == sorted(found)


def test_an_object_is_stored_found_and_read_back(archive):
    ds = Series().datasets[0]
    data = part10(ds)
    assert archive.find_instance(ds.SOPInstanceUID, INSTANCE) is None
    instance = archive.store(data)
    assert archive.find_instance(ds.SOPInstanceUID, study_of(archive, ds)) == instance
    assert archive.fetch_instance(instance) == data


def test_the_first_object_under_a_uid_is_kept_and_the_second_store_is_no_error(archive):
    ds = Series().datasets[0]
    first = part10(ds)
    instance = archive.store(first)
    ds.SeriesDescription = "second"
    assert archive.store(part10(ds)) == instance
    assert archive.fetch_instance(instance) == first


def test_a_series_is_there_until_it_is_deleted(archive, orthanc):
    series = Series()
    names = (INSTANCE, series.series_uid, series.study_uid)
    assert archive.study_of(*names) is None
    stored(archive, series)
    assert archive.study_of(*names) is not None
    assert archive.study_of(INSTANCE, series.series_uid, "1.2.3") is None
    node = (orthanc.url, (orthanc.user, orthanc.password))
    (found,) = requests.post(
        f"{node[0]}/tools/lookup", data=series.series_uid, auth=node[1], timeout=30
    ).json()
    requests.delete(f"{node[0]}/series/{found['ID']}", auth=node[1], timeout=30)
    assert archive.study_of(*names) is None


def test_of_two_objects_under_our_uid_the_one_of_the_study_is_found(archive, orthanc):
    ds = Series().datasets[0]
    ours = archive.store(part10(ds))
    study = study_of(archive, ds)
    ds.PatientID = "T-2"
    theirs = archive.store(part10(ds))
    assert ours != theirs
    # The same StudyInstanceUID: what tells them apart is the patient's number alone.
    assert archive.find_instance(ds.SOPInstanceUID, study) == ours
    with pytest.raises(SeriesNotFound, match="2 studies"):
        study_of(archive, ds)
    series = [series_of(orthanc, one) for one in (ours, theirs)]
    uids = (ds.SeriesInstanceUID, ds.StudyInstanceUID)
    assert archive.study_of(series[0], *uids) == study
    other = archive.study_of(series[1], *uids)
    assert other not in {None, study}
    assert archive.find_instance(ds.SOPInstanceUID, other) == theirs


def test_two_objects_under_our_uid_in_one_study_are_not_guessed_between(archive):
    ds = Series().datasets[0]
    archive.store(part10(ds))
    study = study_of(archive, ds)
    ds.SeriesInstanceUID = generate_uid()
    archive.store(part10(ds))
    with pytest.raises(UploadRejected, match="2 objects"):
        archive.find_instance(ds.SOPInstanceUID, study)


def test_an_object_that_the_archive_files_elsewhere_is_misfiled_also_the_second_time(archive):
    ds = Series().datasets[0]
    archive.store(part10(ds))
    study = study_of(archive, ds)
    ds.PatientID, ds.SOPInstanceUID = "T-2", generate_uid()
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    # Success, then AlreadyStored.
    for _ in range(2):
        with pytest.raises(ResultMisfiled, match=study):
            archive.store(part10(ds), study_id=study)
    assert archive.find_instance(ds.SOPInstanceUID, study) is None


def study_of(archive, ds):
    return archive.study_of(INSTANCE, ds.SeriesInstanceUID, ds.StudyInstanceUID)


def series_of(orthanc, instance):
    answer = requests.get(
        f"{orthanc.url}/instances/{instance}", auth=(orthanc.user, orthanc.password), timeout=30
    )
    return answer.json()["ParentSeries"]


def test_what_is_no_dicom_is_refused_and_not_taken_for_an_archive_that_is_away(archive):
    with pytest.raises(UploadRejected):
        archive.store(b"not DICOM")


def test_a_wrong_password_counts_as_an_archive_that_is_not_available(orthanc):
    stranger = Archive(orthanc.url, orthanc.user, "wrong")
    with pytest.raises(ArchiveUnavailable, match="401"):
        stranger.probe()
    with pytest.raises(ArchiveUnavailable, match="401"):
        stranger.store(part10(Series().datasets[0]))


def test_an_instance_that_is_gone_is_a_passing_fault(archive):
    with pytest.raises(ArchiveUnavailable, match="404"):
        archive.fetch_instance(INSTANCE)


def test_threads_share_an_archive(archive):
    series = Series()
    files = stored(archive, series)
    results: list[list[bytes]] = []

    def work() -> None:
        results.append(download(archive, series.study_uid, series.series_uid))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sorted(found) for found in results] == [sorted(files)] * 6


@pytest.mark.parametrize("uid", ["", "1.2/../3", "1.2.3\n", "1.2?x", "1" * 65, "a.b"])
def test_no_odd_id_enters_a_url(uid):
    archive = Archive("http://127.0.0.1:9", "lab", "secret")
    with MemoryFile() as memory:
        with pytest.raises(ValueError, match="not a DICOM UID"):
            archive.download_series(uid, SERIES, memory)
        with pytest.raises(ValueError, match="not a DICOM UID"):
            archive.download_series(STUDY, uid, memory)
    with pytest.raises(ValueError, match="not a DICOM UID"):
        archive.find_instance(uid, INSTANCE)
    with pytest.raises(ValueError, match="not a DICOM UID"):
        archive.fetch_instance(uid)


def test_nobody_listening_is_an_archive_that_is_not_available():
    archive = Archive("http://127.0.0.1:9", "lab", "secret")
    with pytest.raises(ArchiveUnavailable):
        archive.probe()
    with pytest.raises(ArchiveUnavailable):
        archive.store(b"")


def multipart(*parts: bytes, lengths: bool = True, end: bytes = b"--") -> bytes:
    body = b""
    for part in parts:
        length = f"Content-Length: {len(part)}\r\n".encode() if lengths else b""
        body += b"--edge\r\nContent-Type: application/dicom\r\n" + length + b"\r\n" + part + b"\r\n"
    return body + b"--edge" + end + b"\r\n"


RELATED = {"Content-Type": 'multipart/related; type="application/dicom"; boundary="edge"'}
PARTS = (b"DICM\r\n\r\n" * 3, b"", b"x\r\n--edg\r\n--edge" + b"\0" * 99)


def test_pixels_that_look_like_a_boundary_split_nothing():
    with answering(multipart(*PARTS), headers=RELATED) as (archive, asked):
        assert download(archive) == list(PARTS)
        assert asked == [f"GET /dicom-web/studies/{STUDY}/series/{SERIES} identity"]


def test_parts_without_a_length_end_at_the_next_boundary():
    with answering(multipart(*PARTS[:2], lengths=False), headers=RELATED) as (archive, _):
        assert download(archive) == list(PARTS[:2])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no multipart at all",
        multipart(*PARTS)[:-20],
        multipart(*PARTS, end=b"\r\n"),
        multipart(),
        multipart(b"12345").replace(b"Length: 5", b"Length: 3"),
        multipart(b"12345").replace(b"Length: 5", b"Length: 999"),
    ],
)
def test_a_body_that_is_not_whole_never_passes_for_a_shorter_series(body):
    with answering(body, headers=RELATED) as (archive, _), pytest.raises(ArchiveUnavailable):
        download(archive)


def test_a_connection_that_breaks_off_is_a_passing_fault():
    with (
        answering(multipart(*PARTS), headers=RELATED, cut=30) as (archive, _),
        pytest.raises(ArchiveUnavailable, match="broke off"),
    ):
        download(archive)


def test_an_archive_that_says_nothing_is_given_up_after_the_timeout():
    with answering(silence=1.5) as (archive, _), pytest.raises(ArchiveUnavailable):
        archive.store(b"data")


def test_an_upload_is_sent_once_and_a_read_a_few_times():
    with answering(status=503) as (archive, asked):
        with pytest.raises(ArchiveUnavailable, match="503"):
            archive.store(b"data")
        assert len(asked) == 1
        with pytest.raises(ArchiveUnavailable, match="503"):
            archive.fetch_instance(INSTANCE)
        assert len(asked) == 4


def test_no_redirect_is_followed():
    with (
        answering() as (_, elsewhere),
        answering(status=307, headers={"Location": "http://127.0.0.1:9/"}) as (archive, asked),
    ):
        with pytest.raises(ArchiveUnavailable, match="307"):
            archive.probe()
        with pytest.raises(ArchiveUnavailable, match="307"):
            archive.store(b"data")
        assert (len(asked), elsewhere) == (2, [])


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"ID": INSTANCE, "Status": "FilteredOut"}, UploadRejected),
        ({"Status": "Failure"}, UploadRejected),
        ([], UploadRejected),
        ({"Status": "Success"}, ArchiveUnavailable),
        ({"ID": "../x", "Status": "Success"}, ArchiveUnavailable),
    ],
)
def test_only_success_with_an_id_counts_as_stored(answer, kind):
    with answering(json.dumps(answer).encode()) as (archive, _), pytest.raises(kind):
        archive.store(b"data")


@pytest.mark.parametrize(("status", "kind"), [(413, UploadRejected), (500, ArchiveUnavailable)])
def test_a_refusal_and_a_server_error_have_their_own_codes(status, kind):
    with answering(status=status) as (archive, _), pytest.raises(kind):
        archive.store(b"data")
