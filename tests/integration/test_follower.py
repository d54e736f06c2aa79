"""What becomes of a result's input in a real archive is seen, and nothing else is said of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils import timezone

from infra.local.orthanc import OrthancNode
from tests.dicom_factory import Series
from tests.integration.followed import AT_ONCE, Followed, client, follow, states
from tests.integration.nodes import running_orthanc
from web.follower import changes, results, turn, walk
from web.follower.models import ArchivePlace, IndexedSeries, IndexedStudy
from web.follower.turn import take_turn
from web.inference.compare import looked_at
from web.inference.models import InferenceRequest
from web.orthanc.archive import Orthanc
from web.orthanc.errors import ArchiveUnavailable

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancNode]:
    """An archive that these tests wipe, restore and restart."""
    with running_orthanc(tmp_path_factory.mktemp("followed")) as node:
        yield node


@pytest.fixture
def study(own: OrthancNode) -> Followed:
    return Followed(own)


def test_a_new_result_is_compared_once_and_is_the_same(own: OrthancNode, study: Followed) -> None:
    follow(own)
    row = study.result()
    assert states(row) == ("unknown", "stored")
    follow(own)
    assert states(row) == ("same", "stored")
    version = row.version
    follow(own)
    assert states(row) == ("same", "stored")
    assert row.version == version, "nothing is told where nothing has changed"


def test_a_result_of_before_is_not_said_to_be_the_same(own: OrthancNode, study: Followed) -> None:
    row = study.result(stated=False)
    follow(own)
    assert states(row) == ("unknown", "stored")
    study.delete_instance(study.post, 0)
    follow(own)
    assert states(row) == ("fewer", "stored"), "a number that differs is certain all the same"


def test_more_images_after_the_result(own: OrthancNode, study: Followed) -> None:
    row = study.result()
    follow(own)
    rest = Series(slices=6, study_uid=study.pre.study_uid, series_uid=study.post.series_uid)
    study.store(rest, 4, 5)
    before = row.version
    follow(own)
    assert states(row) == ("more", "stored")
    assert row.version > before


def test_an_image_that_is_deleted_and_stored_again_is_the_same_again(
    own: OrthancNode, study: Followed
) -> None:
    row = study.result()
    follow(own)
    study.delete_instance(study.pre, 2)
    follow(own)
    assert states(row) == ("fewer", "stored")
    study.store(study.pre, 2)
    follow(own)
    assert states(row) == ("same", "stored")


def test_other_bytes_under_the_same_uid_are_another_input(
    own: OrthancNode, study: Followed
) -> None:
    row = study.result()
    follow(own)
    study.delete_instance(study.pre, 2)
    study.pre.datasets[2].PixelData = bytes(len(study.pre.datasets[2].PixelData))
    # No turn in between, and within the second to which the archive's index tells it.
    study.store(study.pre, 2)
    follow(own)
    assert states(row) == ("replaced", "stored")


def test_a_series_that_is_deleted(own: OrthancNode, study: Followed) -> None:
    row = study.result()
    follow(own)
    series_id = study.series_ids[study.post.series_uid]
    study.delete(f"/series/{series_id}")
    follow(own)
    assert states(row) == ("deleted", "stored")
    assert not IndexedSeries.objects.filter(pk=series_id).exists()


def test_a_study_that_is_deleted(own: OrthancNode, study: Followed) -> None:
    row = study.result()
    follow(own)
    assert IndexedStudy.objects.filter(pk=study.study_id).exists()
    study.delete(f"/studies/{study.study_id}")
    follow(own)
    assert states(row) == ("deleted", "gone")
    assert not IndexedStudy.objects.filter(pk=study.study_id).exists()


def test_a_result_that_is_deleted_is_gone(own: OrthancNode, study: Followed) -> None:
    row = study.result()
    follow(own)
    assert row.result is not None
    study.delete(f"/instances/{row.result['seg_instance_id']}")
    follow(own)
    assert states(row) == ("same", "gone")


def test_a_page_looks_itself_and_reads_no_file(own: OrthancNode, study: Followed) -> None:
    row = study.result()
    follow(own)
    row.refresh_from_db()
    study.delete_instance(study.pre, 0)
    assert row.result is not None
    study.delete(f"/instances/{row.result['seg_instance_id']}")
    source = client(own)
    seen = looked_at(row, source)
    source.close()
    assert (seen.input_state, seen.result_state) == ("fewer", "gone")
    assert seen.version == row.version + 1


def refusing(source: Orthanc, fragment: str) -> None:
    """Let the archive fail every question whose path has `fragment` in it."""
    send = source._client.send

    def answered(request: httpx.Request, **how: Any) -> httpx.Response:
        if fragment in request.url.path:
            return httpx.Response(500, request=request)
        return send(request, **how)

    source._client.send = answered  # type: ignore[method-assign]


def test_a_result_that_the_archive_does_not_answer_for_keeps_nothing_else_from_being_found(
    own: OrthancNode, study: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow(own)
    # On a busy machine the turn would leave a result for the next one.
    monkeypatch.setattr(turn, "TURN_SECONDS", 60.0)
    bad = Followed(own)
    unanswered, odd, row = bad.result(), bad.result(), study.result()
    # As no version has ever written one; the oldest of them is compared first.
    InferenceRequest.objects.filter(pk=odd.pk).update(result={"seg_instance_id": None})
    gone = study.series_ids[study.post.series_uid]
    study.delete(f"/series/{gone}")
    source = client(own)
    refusing(source, bad.ids[bad.pre.datasets[0].SOPInstanceUID])
    take_turn(AT_ONCE, source)
    source.close()
    assert states(row) == ("deleted", "stored")
    assert not IndexedSeries.objects.filter(pk=gone).exists()
    for one in (unanswered, odd):
        one.refresh_from_db()
        assert one.input_state == "unknown"
        assert one.compared_at is not None, "it goes to the back"


def test_a_step_that_is_not_answered_keeps_the_next_from_nothing(
    own: OrthancNode, study: Followed
) -> None:
    row = study.result()
    follow(own)
    gone = study.series_ids[study.post.series_uid]
    study.delete(f"/series/{gone}")
    ArchivePlace.objects.update(walked=0)
    source = client(own)
    refusing(source, "/studies")
    with pytest.raises(ArchiveUnavailable):
        take_turn(AT_ONCE, source)
    source.close()
    assert states(row) == ("deleted", "stored")
    assert not IndexedSeries.objects.filter(pk=gone).exists()


def test_a_comparison_ends_between_two_files_when_the_process_stops(
    own: OrthancNode, study: Followed
) -> None:
    row = study.result()
    source = client(own)
    results.compare_due(source, is_stopping=lambda: True)
    source.close()
    row.refresh_from_db()
    assert (row.input_state, row.compared_at) == ("unknown", None)


def test_what_was_withdrawn_is_left_alone(own: OrthancNode, study: Followed) -> None:
    row = study.result(withdrawn_at=timezone.now(), result_state="withdrawn")
    study.delete(f"/studies/{study.study_id}")
    follow(own)
    assert states(row) == ("unknown", "withdrawn")


def test_the_index_holds_nothing_of_the_patient(own: OrthancNode, study: Followed) -> None:
    follow(own)
    entry = IndexedStudy.objects.get(pk=study.study_id)
    assert (entry.study_uid, entry.study_date) == (study.pre.study_uid, "20260102")
    series = IndexedSeries.objects.get(pk=study.series_ids[study.pre.series_uid])
    assert (series.modality, series.instance_count, series.stable) == ("MR", 4, False)
    every = [str(vars(one)) for kind in (IndexedStudy, IndexedSeries) for one in kind.objects.all()]
    assert not [one for one in every for secret in ("Phantom", "T-1", "19700101") if secret in one]


def test_a_new_study_is_in_the_index_after_one_turn(own: OrthancNode) -> None:
    follow(own)
    new = Followed(own)
    source = client(own)
    take_turn(AT_ONCE, source)
    source.close()
    assert IndexedStudy.objects.filter(pk=new.study_id).exists()


def test_the_first_walk_enters_what_was_there_before(
    own: OrthancNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "STUDIES", 10)
    made = {Followed(own, Series(slices=1)).study_id for _ in range(24)}
    ArchivePlace.objects.all().delete()
    IndexedStudy.objects.all().delete()
    turns = follow(own)
    assert made <= set(IndexedStudy.objects.values_list("pk", flat=True))
    assert len(turns) > 3, "in pages, each in a turn of its own"


def test_a_walk_that_was_interrupted_goes_on_where_it_was(
    own: OrthancNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "STUDIES", 10)
    made = {Followed(own, Series(slices=1)).study_id for _ in range(12)}
    ArchivePlace.objects.all().delete()
    source = client(own)
    assert take_turn(AT_ONCE, source).more
    place = ArchivePlace.objects.get()
    passed = place.walked
    assert passed
    source.close()
    follow(own)
    place.refresh_from_db()
    assert place.walked is None
    assert made <= set(IndexedStudy.objects.values_list("pk", flat=True))


def test_the_log_is_known_again_after_its_last_change_was_deleted(
    own: OrthancNode, study: Followed
) -> None:
    follow(own)
    walked = ArchivePlace.objects.get().walk_began_at
    study.delete(f"/studies/{study.study_id}")
    follow(own)
    assert ArchivePlace.objects.get().walk_began_at == walked


def test_a_log_that_was_cleared_lets_everything_be_gone_through_again(
    own: OrthancNode, study: Followed
) -> None:
    follow(own)
    walked = ArchivePlace.objects.get().walk_began_at
    missed = Followed(own)
    study.delete("/changes")
    follow(own)
    assert ArchivePlace.objects.get().walk_began_at != walked
    assert IndexedStudy.objects.filter(pk=missed.study_id).exists()


def test_an_image_that_takes_the_place_of_the_stored_one_is_another_input(tmp_path: Path) -> None:
    """The change by which the log was known goes with the image that was there."""
    with running_orthanc(tmp_path, OverwriteInstances=True) as node:
        study = Followed(node)
        row = study.result()
        study.store(study.pre, 2)
        follow(node)
        assert states(row) == ("same", "stored")
        walked = ArchivePlace.objects.get().walk_began_at
        study.pre.datasets[2].PixelData = bytes(len(study.pre.datasets[2].PixelData))
        # Within the second to which the archive's index tells it.
        study.store(study.pre, 2)
        follow(node)
        assert states(row) == ("replaced", "stored")
        assert ArchivePlace.objects.get().walk_began_at == walked, "it is the same log"


def test_a_restart_of_the_archive_changes_nothing(own: OrthancNode, study: Followed) -> None:
    row = study.result()
    follow(own)
    place, version = ArchivePlace.objects.get(), row.version
    own.kill()
    source = client(own)
    with pytest.raises(ArchiveUnavailable):
        take_turn(AT_ONCE, source)
    source.close()
    own.start()
    own.wait_ready()
    follow(own)
    assert states(row) == ("same", "stored")
    assert ArchivePlace.objects.get().walk_began_at == place.walk_began_at
    assert row.version == version + 1, "compared once"


def test_a_restored_archive_is_noticed_also_once_it_has_gone_on(
    own: OrthancNode, study: Followed, tmp_path: Path
) -> None:
    """A copy from before the result; and then more is stored than there was."""
    follow(own)
    own.kill()
    shutil.copytree(own.root / "storage", tmp_path / "copy")
    own.start()
    own.wait_ready()
    row = study.result()
    later = Followed(own)
    follow(own)
    assert states(row) == ("same", "stored")
    own.kill()
    shutil.rmtree(own.root / "storage")
    shutil.copytree(tmp_path / "copy", own.root / "storage")
    own.start()
    own.wait_ready()
    others = [Followed(own) for _ in range(3)]
    walked = ArchivePlace.objects.get().walk_began_at
    source = client(own)
    assert changes.recognised(ArchivePlace.objects.get(), source).other == "is another"
    source.close()
    follow(own)
    assert states(row) == ("same", "gone")
    assert ArchivePlace.objects.get().walk_began_at != walked
    known = set(IndexedStudy.objects.values_list("pk", flat=True))
    assert {one.study_id for one in others} <= known
    assert later.study_id not in known


def test_a_wiped_archive_is_noticed(own: OrthancNode, study: Followed) -> None:
    row = study.result()
    follow(own)
    own.kill()
    shutil.rmtree(own.root / "storage")
    own.start()
    own.wait_ready()
    source = client(own)
    assert changes.recognised(ArchivePlace.objects.get(), source).other == "went back"
    source.close()
    follow(own)
    assert states(row) == ("deleted", "gone")
    assert not IndexedStudy.objects.exists()


def test_a_turn_costs_so_many_calls_whatever_there_is(
    own: OrthancNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine a turn would end before its last step.
    monkeypatch.setattr(turn, "TURN_SECONDS", 60.0)
    rows = [Followed(own, Series(slices=1)).result() for _ in range(6)]
    follow(own)
    source = client(own)
    asked: list[str] = []
    send = source._client.send

    def counted(request: Any, **how: Any) -> Any:
        asked.append(request.url.path)
        return send(request, **how)

    source._client.send = counted  # type: ignore[method-assign]
    take_turn(AT_ONCE, source)
    source.close()
    assert InferenceRequest.objects.filter(input_state="same").count() == len(rows)
    # The log twice, the results in two calls, the sweep in two.
    assert asked == ["/changes"] * 2 + ["/tools/bulk-content"] * 4
