"""Which DICOMweb addresses and parameters are answered, and how the archive's address goes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.dicomweb.addresses import STAND_IN, renamed
from web.dicomweb.forms import Kind, form_of
from web.dicomweb.query import QueryNotAllowed, checked, studies_named
from web.dicomweb.studies import visible_of

INSTANCE = "studies/1.2/series/1.3/instances/1.4"


@pytest.mark.parametrize(
    ("path", "kind", "uids"),
    [
        ("studies", Kind.STUDIES, ("", "", "")),
        ("studies/1.2/series", Kind.SEARCH, ("1.2", "", "")),
        ("studies/1.2/instances", Kind.SEARCH, ("1.2", "", "")),
        ("studies/1.2/series/1.3/instances", Kind.SEARCH, ("1.2", "1.3", "")),
        ("studies/1.2/metadata", Kind.METADATA, ("1.2", "", "")),
        ("studies/1.2/series/1.3/metadata", Kind.METADATA, ("1.2", "1.3", "")),
        (f"{INSTANCE}/metadata", Kind.METADATA, ("1.2", "1.3", "1.4")),
        ("studies/1.2", Kind.OBJECTS, ("1.2", "", "")),
        ("studies/1.2/series/1.3", Kind.OBJECTS, ("1.2", "1.3", "")),
        (INSTANCE, Kind.OBJECTS, ("1.2", "1.3", "1.4")),
        (f"{INSTANCE}/frames/1,2", Kind.FRAMES, ("1.2", "1.3", "1.4")),
        (f"{INSTANCE}/bulk/00091010/1/7fe00010", Kind.BULK, ("1.2", "1.3", "1.4")),
        (f"{INSTANCE}/rendered", Kind.RENDERED, ("1.2", "1.3", "1.4")),
        (f"{INSTANCE}/frames/3/rendered", Kind.RENDERED, ("1.2", "1.3", "1.4")),
    ],
)
def test_the_forms_that_are_answered(path: str, kind: Kind, uids: tuple[str, ...]) -> None:
    form = form_of(path)
    assert form is not None
    assert (form.kind, form.path) == (kind, path)
    assert (form.study_uid, form.series_uid, form.instance_uid) == uids


@given(st.text(alphabet="studies/123.%?#\\ \n\u0661-é", max_size=40))
def test_no_text_is_passed_on_that_is_more_than_uids_and_words(tail: str) -> None:
    form = form_of(f"studies/1.2/{tail}")
    if form is not None:
        assert all(part.isascii() and part.isprintable() for part in form.path)
        assert ".." not in form.path.split("/")
        assert not set(form.path) & set("%?#\\ ")


@pytest.mark.parametrize("uid", ["1" * 65, "", ".", "1..2", "1.2.", "1.a", "..", "*"])
def test_what_is_no_uid_is_no_form(uid: str) -> None:
    assert form_of(f"studies/{uid}/metadata") is None
    assert form_of(f"studies/1.2/series/{uid}/metadata") is None


def test_frames_take_no_parameters_and_a_search_only_its_own() -> None:
    with pytest.raises(QueryNotAllowed):
        checked(Kind.FRAMES, [("limit", "1")])
    with pytest.raises(QueryNotAllowed):
        checked(Kind.SEARCH, [("PatientName", "A")])
    known = [("includefield", "00080005,all"), ("Modality", "SEG"), ("limit", "101")]
    assert checked(Kind.SEARCH, known) == known


def test_a_study_that_is_named_twice_is_asked_for_once() -> None:
    named = [("StudyInstanceUID", r"1.2\1.3"), ("0020000D", "1.2"), ("limit", "1")]
    assert studies_named(named) == ["1.2", "1.3"]


def test_a_search_tells_only_of_what_is_seen_whatever_was_answered() -> None:
    def item(uid: str) -> str:
        return f'{{"0020000D": {{"Value": ["{uid}"]}}, "00100020": {{"Value": ["X"]}}}}'

    told = visible_of(f"[{item('1.2')}, {item('1.3')}]".encode(), ["1.3"])
    assert told == b'[{"0020000D": {"Value": ["1.3"]}}]'


@given(
    st.lists(
        st.one_of(
            st.just(STAND_IN),
            st.integers(1, len(STAND_IN) - 1).map(lambda length: STAND_IN[:length]),
            st.binary(max_size=8),
        ),
        max_size=8,
    ).map(b"".join),
    st.lists(st.integers(0, 400), max_size=12),
)
def test_the_archives_address_is_replaced_wherever_an_answer_is_cut(
    text: bytes, cuts: list[int]
) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]

    async def parts() -> AsyncGenerator[bytes]:
        for piece in pieces:
            yield piece

    async def joined() -> bytes:
        return b"".join([part async for part in renamed(parts(), b"https://ours/x")])

    assert asyncio.run(joined()) == text.replace(STAND_IN, b"https://ours/x")
