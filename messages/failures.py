"""Why a request can end without a result, in the words of the reader and of the operator."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FailureCode(StrEnum):
    """The closed list of reasons. A new one is a new minor version of the contract."""

    #: A series of the request is no longer in the archive.
    SERIES_NOT_FOUND = "series_not_found"
    #: A series has other instances than when it was asked for.
    SERIES_CHANGED = "series_changed"
    #: Not as many inputs as the model has roles.
    WRONG_PHASE_COUNT = "wrong_phase_count"
    #: The acquisition times contradict the roles.
    PHASES_OUT_OF_ORDER = "phases_out_of_order"
    #: Slices are missing, doubled or unequally spaced, or the phases lie on different grids.
    GEOMETRY_MISMATCH = "geometry_mismatch"
    #: A file is no DICOM, is cut short or cannot be decoded.
    UNREADABLE_DICOM = "unreadable_dicom"
    #: Readable, but not an MR image of a kind that is supported.
    UNSUPPORTED_IMAGE = "unsupported_image"
    #: The images lack an attribute that an analysis needs: place, orientation, spacing, pixels.
    MISSING_ATTRIBUTE = "missing_attribute"
    #: The slices of one phase are not of one acquisition, or not of one kind of image.
    MIXED_PHASE = "mixed_phase"
    #: More instances, bytes or voxels than the lab's limits allow.
    TOO_LARGE = "too_large"
    #: The lab does not serve the model.
    MODEL_UNAVAILABLE = "model_unavailable"
    #: The model was loaded and raised on these images, or answered with something else than a mask.
    MODEL_FAILED = "model_failed"
    #: The inference needed more memory than there is.
    OUT_OF_MEMORY = "out_of_memory"
    #: The inference took longer than its limit.
    INFERENCE_TIMEOUT = "inference_timeout"
    #: The archive does not answer.
    ARCHIVE_UNAVAILABLE = "archive_unavailable"
    #: The archive answered and did not take the result.
    UPLOAD_REJECTED = "upload_rejected"
    #: The archive filed the result in another study than that of the images.
    RESULT_MISFILED = "result_misfiled"
    #: The worker ended in the middle, again and again.
    WORKER_CRASHED = "worker_crashed"
    #: The request took longer than it may.
    DEADLINE_EXCEEDED = "deadline_exceeded"
    #: No lab ever took the request.
    EXPIRED = "expired"
    #: When the request's validity was over, the archive had not said that the chosen series are
    #: whole: images were still arriving, or it did not answer.
    SERIES_INCOMPLETE = "series_incomplete"
    #: A lab reported a result, and the archive answered and holds none, or none that it or the site
    #: can read. The site decides it; a result that is found later completes the request all the
    #: same.
    RESULT_NOT_FOUND = "result_not_found"


#: Codes after which the same request would end the same way, as long as its images, the model and
#: the archive stay as they are. Nobody is offered to ask for just that again. A series that has
#: changed is looked up anew, so that one is not among them. Neither is `TOO_LARGE`: what it passed
#: is a limit of the lab, also one of seconds on a busy machine, and an operator raises it.
FINAL = frozenset(
    {
        FailureCode.SERIES_NOT_FOUND,
        FailureCode.WRONG_PHASE_COUNT,
        FailureCode.PHASES_OUT_OF_ORDER,
        FailureCode.GEOMETRY_MISMATCH,
        FailureCode.UNREADABLE_DICOM,
        FailureCode.UNSUPPORTED_IMAGE,
        FailureCode.MISSING_ATTRIBUTE,
        FailureCode.MIXED_PHASE,
        # Of one that raised: after a second try in a fresh process it is the model's on this input.
        FailureCode.MODEL_FAILED,
        FailureCode.RESULT_MISFILED,
    }
)


@dataclass(frozen=True)
class FailureText:
    """Sentences for one code: `reader` for the person at the page, `operator` for the engineer."""

    reader_en: str
    reader_ko: str
    operator_en: str
    operator_ko: str

    def reader(self, language: str) -> str:
        """The reader's sentence: Korean for ``ko`` and its variants, else English."""
        return self.reader_ko if language.startswith("ko") else self.reader_en

    def operator(self, language: str) -> str:
        """The operator's sentence: Korean for ``ko`` and its variants, else English."""
        return self.operator_ko if language.startswith("ko") else self.operator_en


FAILURE_TEXTS: dict[FailureCode, FailureText] = {
    FailureCode.SERIES_NOT_FOUND: FailureText(
        "A series of this request is no longer in the archive.",
        "이 요청의 시리즈가 더 이상 저장소에 없습니다.",
        "Orthanc answered 404 for an input series; it was deleted after the request was made.",
        "입력 시리즈에 대해 Orthanc가 404로 응답했습니다. 요청 이후에 삭제된 시리즈입니다.",
    ),
    FailureCode.SERIES_CHANGED: FailureText(
        "A series changed after the request was made. Please request the analysis again.",
        "요청 후에 시리즈가 변경되었습니다. 분석을 다시 요청해 주세요.",
        "The number of instances differs from the request's instance_count.",
        "인스턴스 수가 요청의 instance_count와 다릅니다.",
    ),
    FailureCode.WRONG_PHASE_COUNT: FailureText(
        "The number of selected series does not match what the model needs.",
        "선택한 시리즈 수가 모델에 필요한 수와 다릅니다.",
        "The request's inputs do not match the roles in the bundle's metadata.",
        "요청의 입력이 번들 메타데이터의 역할과 일치하지 않습니다.",
    ),
    FailureCode.PHASES_OUT_OF_ORDER: FailureText(
        "The phases are not in the order in which they were acquired.",
        "조영 시기가 촬영된 시간 순서와 맞지 않습니다.",
        "The acquisition times of the inputs contradict their roles.",
        "입력의 촬영 시각이 역할 순서와 어긋납니다.",
    ),
    FailureCode.GEOMETRY_MISMATCH: FailureText(
        "The slices do not form one regular volume, or the phases do not lie on the same grid.",
        "단면이 하나의 규칙적인 볼륨을 이루지 않거나 조영 시기마다 격자가 서로 다릅니다.",
        "Missing, doubled or unequally spaced slices, or another grid or frame of reference.",
        "단면이 빠졌거나 중복되거나 간격이 다르거나, 격자 또는 Frame of Reference가 다릅니다.",
    ),
    FailureCode.UNREADABLE_DICOM: FailureText(
        "A file of the series cannot be read.",
        "시리즈의 파일을 읽을 수 없습니다.",
        "An instance is not DICOM, is cut short, or its pixel data cannot be decoded.",
        "인스턴스가 DICOM이 아니거나 잘렸거나 픽셀 데이터를 디코딩할 수 없습니다.",
    ),
    FailureCode.UNSUPPORTED_IMAGE: FailureText(
        "This kind of image cannot be analysed. Please choose MR series that were not compressed "
        "with loss.",
        "이 종류의 영상은 분석할 수 없습니다. 손실 압축되지 않은 MR 시리즈를 선택해 주세요.",
        "The SOP class, the pixel format or a lossy compression is not supported by the reader.",
        "판독기가 지원하지 않는 SOP Class, 픽셀 형식 또는 손실 압축입니다.",
    ),
    FailureCode.MISSING_ATTRIBUTE: FailureText(
        "The images lack information that the analysis needs, such as their place or spacing.",
        "분석에 필요한 정보(위치, 간격 등)가 영상에 없습니다.",
        "An instance lacks a DICOM attribute that a volume needs; the detail names it.",
        "볼륨에 필요한 DICOM 속성이 인스턴스에 없습니다. 속성 이름은 상세 내용에 있습니다.",
    ),
    FailureCode.MIXED_PHASE: FailureText(
        "The slices of one phase do not belong together: some are of another acquisition or "
        "another kind of image.",
        "한 조영 시기의 단면들이 서로 맞지 않습니다. "
        "다른 촬영이나 다른 종류의 영상이 섞여 있습니다.",
        "Within one phase an attribute that tells acquisitions apart differs; the detail names it "
        "and the first slice that differs.",
        "한 조영 시기 안에서 촬영을 구분하는 속성이 서로 다릅니다. "
        "속성과 처음 다른 단면은 상세 내용에 있습니다.",
    ),
    FailureCode.TOO_LARGE: FailureText(
        "The series is larger than the lab accepts.",
        "시리즈가 분석 서버의 허용 크기보다 큽니다.",
        "A limit on instances, bytes or voxels was reached; the limits are settings of the lab.",
        "인스턴스, 바이트 또는 복셀 한도를 넘었습니다. 한도는 분석 서버의 설정입니다.",
    ),
    FailureCode.MODEL_UNAVAILABLE: FailureText(
        "The chosen model is not available in the lab.",
        "선택한 모델을 분석 서버에서 사용할 수 없습니다.",
        "No bundle of that name under MODEL_PATH of the lab that took the request.",
        "요청을 받은 분석 서버의 MODEL_PATH에 그 이름의 번들이 없습니다.",
    ),
    FailureCode.MODEL_FAILED: FailureText(
        "The model could not analyse these images.",
        "모델이 이 영상을 분석하지 못했습니다.",
        "The bundle was loaded and raised an error on this input, or answered with something else "
        "than a mask of its volume.",
        "번들은 로드되었지만 이 입력에서 오류를 냈거나 "
        "볼륨에 맞는 마스크가 아닌 값을 반환했습니다.",
    ),
    FailureCode.OUT_OF_MEMORY: FailureText(
        "The analysis needed more memory than the lab's machine has.",
        "분석에 필요한 메모리가 분석 서버의 메모리보다 큽니다.",
        "The segmenter ran out of memory (CUDA or host).",
        "세그멘터의 메모리가 부족합니다(CUDA 또는 호스트).",
    ),
    FailureCode.INFERENCE_TIMEOUT: FailureText(
        "The analysis took too long and was stopped.",
        "분석 시간이 너무 길어 중단되었습니다.",
        "The segmenter passed its time limit and was killed.",
        "세그멘터가 제한 시간을 넘어 종료되었습니다.",
    ),
    FailureCode.ARCHIVE_UNAVAILABLE: FailureText(
        "The image archive does not answer.",
        "영상 저장소가 응답하지 않습니다.",
        "Orthanc refused the connection, timed out or answered 5xx.",
        "Orthanc가 연결을 거부했거나 시간이 초과되었거나 5xx로 응답했습니다.",
    ),
    FailureCode.UPLOAD_REJECTED: FailureText(
        "The archive did not store the result.",
        "영상 저장소가 결과를 저장하지 않았습니다.",
        "Orthanc answered the upload with something other than Success or AlreadyStored.",
        "업로드에 대한 Orthanc의 응답이 Success나 AlreadyStored가 아닙니다.",
    ),
    FailureCode.RESULT_MISFILED: FailureText(
        "The archive filed the result under another study, so it was removed. Please tell the "
        "administrator.",
        "저장소가 결과를 다른 검사에 저장하여 결과를 삭제했습니다. 관리자에게 알려 주세요.",
        "The archive's answer to the upload names another study than that of the images, mostly "
        "because of the patient ID's character set; the site removes the object.",
        "업로드에 대한 저장소의 응답이 영상과 다른 검사를 가리킵니다. "
        "대개 환자 ID의 문자 집합 때문이며, 웹 서버가 그 객체를 삭제합니다.",
    ),
    FailureCode.WORKER_CRASHED: FailureText(
        "The analysis program stopped unexpectedly.",
        "분석 프로그램이 예기치 않게 종료되었습니다.",
        "A child process died, or the delivery limit of the queue was reached.",
        "자식 프로세스가 죽었거나 큐의 전달 한도에 도달했습니다.",
    ),
    FailureCode.DEADLINE_EXCEEDED: FailureText(
        "The analysis did not end within its time limit.",
        "분석이 제한 시간 안에 끝나지 않았습니다.",
        "REQUEST_DEADLINE_SECONDS passed since the request was accepted.",
        "요청이 접수된 뒤 REQUEST_DEADLINE_SECONDS가 지났습니다.",
    ),
    FailureCode.EXPIRED: FailureText(
        "No lab took the request within its validity.",
        "유효 기간 안에 요청을 받은 분석 서버가 없습니다.",
        "REQUEST_EXPIRES_SECONDS passed and no lab had accepted the request.",
        "REQUEST_EXPIRES_SECONDS가 지나도록 요청을 접수한 분석 서버가 없습니다.",
    ),
    FailureCode.SERIES_INCOMPLETE: FailureText(
        "Images of a chosen series were still arriving, or the image archive did not answer, and "
        "the request was not sent in time.",
        "선택한 시리즈의 영상이 계속 전송되고 있거나 저장소가 응답하지 않아 요청을 제때 보내지 "
        "못했습니다.",
        "REQUEST_EXPIRES_SECONDS passed and the archive had not called every chosen series stable, "
        "or had not answered what it holds of them.",
        "선택한 모든 시리즈가 안정 상태라는 저장소의 응답을 받지 못한 채 "
        "REQUEST_EXPIRES_SECONDS가 지났습니다.",
    ),
    FailureCode.RESULT_NOT_FOUND: FailureText(
        "The lab reported a result, but it cannot be found or read in the image archive.",
        "분석 서버가 결과를 보고했지만 영상 저장소에서 그 결과를 찾거나 읽을 수 없습니다.",
        "A lab reported the request as completed, and the archive answered three times without the "
        "objects that the request derives, or with objects that are not its result, or failed at "
        "them for ten minutes while it handed out the images. The detail says which; it is looked "
        "for a few more times within a day.",
        "분석 서버가 완료를 보고했지만, 저장소에서 세 번 확인해도 이 요청의 결과 객체가 없거나 "
        "결과로 읽을 수 없었거나, 영상은 내주면서도 그 객체는 10분 동안 내주지 못했습니다. "
        "이유는 상세 내용에 있으며, 하루 동안 몇 번 더 확인합니다.",
    ),
}

#: For a code that this version does not know: a newer lab or site may have stored it.
UNKNOWN_FAILURE = FailureText(
    "The analysis failed.",
    "분석에 실패했습니다.",
    "This version does not know the code; a newer lab or site wrote it.",
    "이 버전이 모르는 코드입니다. 더 새로운 분석 서버나 사이트가 기록했습니다.",
)


def text_of(code: str) -> FailureText:
    """The sentences for a code as it is stored; a general one for a code of a newer version."""
    try:
        return FAILURE_TEXTS[FailureCode(code)]
    except ValueError:
        return UNKNOWN_FAILURE
