"""``mri-consumer infer``: one analysis by hand, without a broker.

It is the lab's own work, `consumer.jobs.analysis`, with two things of another kind: what a lab
publishes is shown on the terminal, and without upload what would be stored is kept. Each run has
a request id of its own, so it makes a result of its own: beside whatever the archive has already.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog
from pydantic import ValidationError
from rich.console import Console

from consumer import bootstrap, logs, settings
from consumer.bundle import Bundle, find_bundles
from consumer.children.workbench import Workbench
from consumer.errors import ModelUnavailable
from consumer.jobs.analysis import Analysis
from consumer.jobs.announcer import Announcer
from consumer.jobs.lab import ArchivePort, Lab
from consumer.manual.choice import ChosenPhase, choose, concerns, describe
from consumer.manual.exit import ENDS, ExitStatus, Interrupts, end_of
from consumer.manual.facts import ExaminedSeries, examine
from consumer.manual.local_result import ReadOnlyArchive, prepare_folder, write_files
from consumer.manual.options import CannotInfer, InferOptions, parse_phase_options
from consumer.manual.outcome import Outcome
from consumer.manual.progress import (
    KEPT_WORDS,
    WORDS,
    ArchiveWithProgress,
    ProgressDisplay,
    RunWithProgress,
    TerminalPublisher,
    UndeliveredRequest,
    display_on,
)
from consumer.orthanc.archive_watch import ArchiveWatch
from consumer.orthanc.images import Images
from consumer.settings import AnalysisSettings
from consumer.stop_conditions import StopConditions
from messages.events import InferenceCompleted
from messages.request import InferenceRequested, InputSeries, PhaseSelector
from messages.topology import POOLS

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Arguments:
    """What was typed."""

    series_ids: tuple[str, ...]
    #: Each as `consumer.manual.options.PhaseOption` reads it.
    phases: tuple[str, ...]
    model: str | None
    #: None leaves it to the settings, as with the threshold.
    device: str | None
    threshold: float | None
    upload: bool
    out: Path | None
    #: None: a table on a terminal, JSON elsewhere.
    as_json: bool | None


def destination(
    *, upload: bool | None, out: Path | None, output: Path | None
) -> tuple[bool, Path | None]:
    """Whether to upload, and the folder for files if there is one.

    `output` is the option's older name. It meant files alone unless ``--upload`` stood beside it,
    and still does: a script that uses it must not begin to store.
    """
    uploads = upload if upload is not None else output is None
    return uploads, out or output or (None if uploads else Path())


def run(arguments: Arguments) -> int:
    """Run, print, and return the exit status."""
    # Until the settings say how: a fault of reading them is logged without its text, too.
    logs.configure()
    with Interrupts() as interrupts:
        try:
            outcome = _outcome(arguments, interrupts)
        except ENDS as error:
            status, sentence = end_of(error, interrupts)
            sys.stderr.write(f"mri-consumer: {sentence}\n")
            return status
        except Exception:
            # Its text may quote a DICOM value: the log has the type and the places.
            log.exception("this run met a fault of the program")
            sys.stderr.write("mri-consumer: fault: please report the line above\n")
            return ExitStatus.FAULT
    # Outside: who stops the printing stops nothing else.
    console = Console(highlight=False)
    if arguments.as_json or (arguments.as_json is None and not console.is_terminal):
        sys.stdout.write(json.dumps(outcome.figures(), indent=2) + "\n")
    else:
        outcome.print_on(console)
    return ExitStatus.DONE


def _outcome(arguments: Arguments, interrupts: Interrupts) -> Outcome:
    found = settings.load_analysis(
        **({"device": arguments.device} if arguments.device else {}),
        **({"threshold": arguments.threshold} if arguments.threshold is not None else {}),
    )
    logs.configure(found.log_format)
    options = InferOptions(
        series_ids=arguments.series_ids,
        model=arguments.model,
        threshold=found.threshold,
        upload=arguments.upload,
        out=arguments.out,
        phases=parse_phase_options(arguments.phases),
    )
    terminal = Console(stderr=True, highlight=False)
    with display_on(terminal, WORDS if options.upload else KEPT_WORDS) as display:
        return infer(found, options, display=display, interrupts=interrupts)


def infer(
    settings: AnalysisSettings,
    options: InferOptions,
    *,
    display: ProgressDisplay,
    interrupts: Interrupts,
) -> Outcome:
    """Run the model on the phases of the series.

    Raises `CannotInfer`, `BundleInvalid`, `LabError`; and once it was interrupted `Interrupted`,
    `RequestCancelled` or `LabStopping`.
    """
    bundle = _chosen_bundle(find_bundles(settings.model_path), options.model)
    if options.out is not None:
        prepare_folder(options.out)
    display.begin("look")
    chosen = _chosen_phases(settings, bundle, options, display)
    request = _request(bundle, chosen, options.threshold)
    archive = ArchiveWithProgress(bootstrap.archive_of(settings), display)
    target: ArchivePort = archive if options.upload else ReadOnlyArchive(archive)
    with bootstrap.workbench(settings) as bench:
        display.begin("load")
        bench.load([bundle], settings.device)
        display.end("load")
        lab = _lab(settings, bundle, target, bench, display)
        interrupts.cancel_on_signal()
        run = RunWithProgress(
            request,
            delivered=UndeliveredRequest(interrupts.cancelled),
            lab=lab.name,
            stop_conditions=StopConditions(
                cancelled=interrupts.cancelled, stopping=interrupts.stopping
            ),
            display=display,
        )
        analysis = Analysis(lab, run)
        completed = analysis.complete()
    measured = analysis.measured
    return Outcome(
        completed=completed,
        lesions=measured.lesions if measured else (),
        left_out=measured.left_out if measured else 0,
        curves_withheld=measured.curves_withheld if measured else "",
        chosen=chosen,
        bundle=bundle,
        device=settings.device,
        threshold=options.threshold,
        uploaded=options.upload,
        files=None if options.out is None else _written(options.out, target, completed),
    )


def _lab(
    settings: AnalysisSettings,
    bundle: Bundle,
    archive: ArchivePort,
    bench: Workbench,
    display: ProgressDisplay,
) -> Lab:
    return Lab(
        name=settings.lab_name,
        device=settings.device,
        threshold=settings.threshold,
        bundles={bundle.descriptor.name: bundle},
        archive=archive,
        # Not started: who runs an analysis by hand sees at once that the archive is away.
        archive_watch=ArchiveWatch(lambda: None),
        workbench=bench,
        announcer=Announcer(TerminalPublisher(display), user=settings.lab_name, pool=POOLS[0]),
        max_series_instances=settings.max_series_instances,
        max_request_bytes=settings.max_request_bytes,
        min_lesion_mm3=settings.min_lesion_mm3,
        key_slices=settings.key_slices,
    )


def _chosen_bundle(bundles: Mapping[str, Bundle], name: str | None) -> Bundle:
    names = ", ".join(bundles)
    if name is None:
        if len(bundles) > 1:
            raise CannotInfer(f"MODEL_PATH holds {names}: choose one with --model")
        return next(iter(bundles.values()))
    if name not in bundles:
        raise ModelUnavailable(f"MODEL_PATH holds no model {name}, but {names}")
    return bundles[name]


def _chosen_phases(
    settings: AnalysisSettings, bundle: Bundle, options: InferOptions, display: ProgressDisplay
) -> tuple[ChosenPhase, ...]:
    examined = _examined(settings, options)
    for number, series in enumerate(examined, 1):
        display.say(describe(number, series))
    display.end("look")
    chosen = choose(examined, bundle.descriptor.roles, options.phases)
    for one in chosen:
        display.say(f"{one.role}: series {one.number}, {one.phase}: {one.why}")
    for sentence in concerns(chosen):
        display.say(f"note: {sentence}")
    return chosen


def _examined(settings: AnalysisSettings, options: InferOptions) -> Sequence[ExaminedSeries]:
    if len(set(options.series_ids)) < len(options.series_ids):
        raise CannotInfer("--series-ids names a series twice")
    images = Images(
        settings.orthanc_url,
        settings.orthanc_user,
        settings.orthanc_password.get_secret_value(),
        max_images=settings.max_series_instances,
    )
    wanted = {one.keyword for one in options.phases if one.keyword}
    try:
        examined = [examine(images, series_id, wanted) for series_id in options.series_ids]
    except ValueError:
        raise CannotInfer(
            "--series-ids takes the identifiers that Orthanc shows: five groups of eight "
            "hexadecimal digits"
        ) from None
    if len({one.series.study_uid for one in examined}) > 1:
        raise CannotInfer("the series belong to different studies")
    return examined


def _request(bundle: Bundle, chosen: Sequence[ChosenPhase], threshold: float) -> InferenceRequested:
    try:
        return InferenceRequested(
            request_id=uuid4(),
            attempt=1,
            pool=POOLS[0],
            model=bundle.descriptor.name,
            study_uid=chosen[0].examined.series.study_uid,
            inputs=tuple(
                InputSeries(
                    role=one.role,
                    series_id=one.examined.facts.series_id,
                    series_uid=one.examined.series.series_uid,
                    instance_count=one.examined.series.instance_count,
                    phase_selector=PhaseSelector(keyword=one.keyword, value=one.value)
                    if one.keyword
                    else None,
                )
                for one in chosen
            ),
            threshold=threshold,
            deadline_s=3600,
        )
    except ValidationError as exc:
        field_name = str(exc.errors(include_input=False)[0]["loc"][-1])
        raise CannotInfer(f"{field_name} is not usable for a request") from None


def _written(folder: Path, target: ArchivePort, completed: InferenceCompleted) -> dict[str, str]:
    ids = {"seg": completed.seg_instance_id, "sr": completed.sr_instance_id}
    objects = {
        kind: target.fetch_instance(key, check_stop=lambda: None)
        for kind, key in ids.items()
        if key is not None
    }
    return write_files(folder, completed.request_id, objects)
