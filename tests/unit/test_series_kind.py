"""What a series is by its words, its image type and its scan."""

from __future__ import annotations

import pytest

from messages.phases import LeftOut, SeriesFacts
from messages.phases.kind import kind_of


def series(**facts: object) -> SeriesFacts:
    return SeriesFacts("a", "MR", instance_count=80, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("description", "kind"),
    [
        ("DYN T1 sub?", LeftOut.SUBTRACTION),
        ("dyn_SUB", LeftOut.SUBTRACTION),
        ("SUB1", LeftOut.SUBTRACTION),
        ("Ph2-Ph1 Subtracted", LeftOut.SUBTRACTION),
        ("Substraction 2", LeftOut.SUBTRACTION),
        ("post1-pre", LeftOut.SUBTRACTION),
        ("감산 영상 2", LeftOut.SUBTRACTION),
        ("T1 VIBE dynamic without fat SUPpression", None),
        ("T1 dyn substudy 2", None),
        ("T1 dyn sub-study 2", None),
        ("T1 sub-mm dyn", None),
        ("T1 dyn without sub", None),
        ("dyn-pre", None),
        ("T1 dyn pre-post", None),
        *(
            (text, LeftOut.SUBTRACTION)
            for text in (
                "sDYN_eTHRIVE",
                "Ph2-Ph1",
                "post2-post1",
                "dyn2-dyn1",
                "Dyn 3 - Dyn 1",
                "(Ph2/Ax VIBRANT)-(Ph1/Ax VIBRANT)",
                "1st-pre",
                "S2-S1",
                "post1 minus pre",
                "dSUB",
                "RSUB",
                "RegSub",
                "AutoSub",
                "eSub",
                "difference",
            )
        ),
        ("Ph1-Ph5/Ax VIBRANT", None),
        ("t1 dyn 1-4", None),
        ("T1 dyn NoSub", None),
        ("MIP_SUB", LeftOut.PROJECTION),
        ("MIPT", LeftOut.PROJECTION),
        ("sMIP 3", LeftOut.PROJECTION),
        ("Collapsed images", LeftOut.PROJECTION),
        ("T1_MPR_cor", LeftOut.PROJECTION),
        ("t2_tirm_tra", LeftOut.OTHER_WEIGHTING),
        ("T2W_TSE", LeftOut.OTHER_WEIGHTING),
        ("STIR sag", LeftOut.OTHER_WEIGHTING),
        ("T2강조 축상", LeftOut.OTHER_WEIGHTING),
        ("eTHRIVE post2 dyn", None),
        ("ep2d_diff_b50_800_ADC", LeftOut.DIFFUSION),
        ("DWI b1000", LeftOut.DIFFUSION),
        ("확산강조영상", LeftOut.DIFFUSION),
        ("different T1 dyn", None),
        ("3-plane loc", LeftOut.LOCALIZER),
        ("AAHScout", LeftOut.LOCALIZER),
        ("SURVEY_BREAST", LeftOut.LOCALIZER),
        ("위치결정영상", LeftOut.LOCALIZER),
        ("ASSET Cal", LeftOut.NOT_DYNAMIC),
        ("Care Bolus", LeftOut.NOT_DYNAMIC),
        ("T1 LAVA ASSET dyn after bolus", None),
        ("T1 map", LeftOut.PARAMETER_MAP),
        *(
            (text, LeftOut.PARAMETER_MAP)
            for text in (
                "Ktrans",
                "WI",
                "WO",
                "t1_vibe_dyn_WO",
                "t1_vibe_dyn_WI",
                "PEI",
                "washout",
                "wash-out",
                "SER",
                "AUC",
                "MaxEnh",
                "slope",
                "Rel Enh",
            )
        ),
        ("dyn T1 WI", None),
        ("Ax T1 WO", None),
        ("Ax T1 w/o contrast dyn", None),
        ("Ser 5 dyn", None),
        ("test inj", LeftOut.NOT_DYNAMIC),
        ("timing", LeftOut.NOT_DYNAMIC),
        ("6 LOCS VIBRANT", None),
        ("조영 후 역동적 T1 2차", None),
        ("Ph3/Ax VIBRANT MPH", None),
        ("t1_fl3d_tra_dynaVIEWS_1+5", None),
        ("", None),
    ],
)
def test_words_tell_what_a_series_is(description, kind) -> None:
    assert kind_of(series(description=description)) is kind


@pytest.mark.parametrize(
    ("image_type", "kind"),
    [
        ("ORIGINAL\\PRIMARY\\M\\ND\\NORM", None),
        ("ORIGINAL\\PRIMARY\\M_FFE\\M\\FFE", None),
        ("DERIVED\\PRIMARY\\M\\ND\\DIXON\\WATER", None),
        ("DERIVED\\PRIMARY\\M\\ND\\SUB", LeftOut.SUBTRACTION),
        ("DERIVED\\PRIMARY\\VOLUME\\SUBTRACTION", LeftOut.SUBTRACTION),
        ("DERIVED\\PRIMARY\\PROJECTION IMAGE\\M\\FFE", LeftOut.PROJECTION),
        ("DERIVED\\SECONDARY\\MPR\\CSA MPR\\CSAPARALLEL", LeftOut.PROJECTION),
        ("DERIVED\\PRIMARY\\DIFFUSION\\ADC\\ND", LeftOut.DIFFUSION),
        ("DERIVED\\PRIMARY\\T1 MAP", LeftOut.PARAMETER_MAP),
        ("DERIVED\\PRIMARY\\WI", LeftOut.PARAMETER_MAP),
        ("DERIVED\\PRIMARY\\WO", LeftOut.PARAMETER_MAP),
        ("DERIVED\\PRIMARY\\ENHANCEMENT", LeftOut.PARAMETER_MAP),
        ("ORIGINAL\\PRIMARY\\P\\ND", LeftOut.PHASE_IMAGE),
        ("ORIGINAL\\PRIMARY\\PHASE MAP\\P\\FFE", LeftOut.PHASE_IMAGE),
        ("ORIGINAL\\PRIMARY\\OTHER\\LOCALIZER", LeftOut.LOCALIZER),
        ("DERIVED\\SECONDARY", LeftOut.DERIVED),
        ("DERIVED\\SECONDARY\\OTHER", LeftOut.DERIVED),
    ],
)
def test_the_image_type_tells_what_a_series_is(image_type, kind) -> None:
    values = tuple(image_type.split("\\"))
    assert kind_of(series(description="dyn", image_type=values)) is kind


@pytest.mark.parametrize(
    ("scan", "kind"),
    [
        ({"ScanningSequence": "GR", "SequenceName": "*fl3d1", "EchoTime": "1.8"}, None),
        ({"ScanningSequence": "GR\\IR"}, None),
        ({"ScanningSequence": "SE"}, LeftOut.OTHER_WEIGHTING),
        ({"SequenceName": "*tse2d1_15"}, LeftOut.OTHER_WEIGHTING),
        ({"EchoTime": "84"}, LeftOut.OTHER_WEIGHTING),
        ({"SequenceName": "*ep_b50t"}, LeftOut.DIFFUSION),
        ({"ScanningSequence": "EP\\SE"}, LeftOut.DIFFUSION),
        ({"DiffusionBValue": "800.0"}, LeftOut.DIFFUSION),
        ({"DiffusionBValue": "0", "ScanningSequence": "GR"}, None),
        ({"EchoTime": "not a number"}, None),
        ({"ComplexImageComponent": "PHASE"}, LeftOut.PHASE_IMAGE),
        ({"ComplexImageComponent": "REAL "}, LeftOut.PHASE_IMAGE),
        ({"ComplexImageComponent": "IMAGINARY"}, LeftOut.PHASE_IMAGE),
        ({"ComplexImageComponent": "MAGNITUDE"}, None),
        # Of an object whose frames say what each of them is.
        ({"ComplexImageComponent": "MIXED"}, None),
    ],
)
def test_the_scan_tells_what_a_series_is(scan, kind) -> None:
    assert kind_of(series(description="breast", scan=scan)) is kind


def test_another_modality_is_no_mr_whatever_its_name_says() -> None:
    assert kind_of(SeriesFacts("a", "SEG", "Localizer", 1)) is LeftOut.NOT_MR


def test_a_series_without_a_description_is_told_by_its_protocol() -> None:
    assert kind_of(series(description="", scan={"ProtocolName": "t2_tse_tra"})) is (
        LeftOut.OTHER_WEIGHTING
    )


@pytest.mark.parametrize("text", ["dyn ", "ph2 ", "sub-", "mip_", "9 min ", "x"])
def test_a_description_or_type_of_a_hostile_file_takes_no_time(text) -> None:
    # A pattern that tries every pair of places would take hours.
    long = text * 300_000
    assert kind_of(series(description=long)) in {None, *LeftOut}
    assert kind_of(series(description="dyn", image_type=("ORIGINAL", "PRIMARY", long))) in {
        None,
        *LeftOut,
    }
