"""Which phase of which series plays which role: as given, as found, or by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumer.dicom.flaws import error_of
from consumer.errors import LabError, WrongPhaseCount
from consumer.manual.facts import ExaminedSeries
from consumer.manual.options import CannotInfer, PhaseOption
from consumer.manual.wording import fault_words, left_out_words, refusal_of, unclear_words
from messages.phases import Choice, PhaseFacts, propose
from messages.phases.check import check_choice


@dataclass(frozen=True)
class ChosenPhase:
    """One role filled, and why."""

    role: str
    #: Place of the series among those that were given, from 1.
    number: int
    examined: ExaminedSeries
    #: Which phase of the series; both empty for the whole series.
    keyword: str
    value: str
    #: Half a sentence for the engineer.
    why: str

    @property
    def phase(self) -> str:
        """The phase in words."""
        return f"{self.keyword} {self.value}" if self.keyword else "whole series"

    @property
    def facts(self) -> PhaseFacts | None:
        """What is known of the phase; None of one that nobody but the engineer knows."""
        own = (self.keyword, self.value)
        return next((p for p in self.examined.facts.phases if (p.keyword, p.value) == own), None)


def choose(
    examined: Sequence[ExaminedSeries], roles: Sequence[str], phase_options: Sequence[PhaseOption]
) -> tuple[ChosenPhase, ...]:
    """Fill the roles in their order. What is ambiguous is said, and nothing is chosen.

    Raises `CannotInfer` for options that do not fit the series, `LabError` for series that do not
    fit the model.
    """
    if phase_options:
        return _whole(_said(examined, roles, phase_options))
    if len(examined) == len(roles):
        return _whole(_given(examined, roles))
    # All of them were named to take part.
    for number, one in enumerate(examined, 1):
        if one.facts.flaw is not None:
            raise error_of(one.facts.flaw, f"series {number}")
    if len(examined) > len(roles) or all(len(one.facts.phases) < 2 for one in examined):
        raise _wrong_count(examined, roles)
    return _found(examined, roles)


def _whole(chosen: tuple[ChosenPhase, ...]) -> tuple[ChosenPhase, ...]:
    """The same, if the first image of each phase is one that a volume can be made of."""
    for one in chosen:
        flaw = one.examined.facts.flaw if one.facts is None else one.facts.flaw
        if flaw is not None:
            raise error_of(flaw, one.role)
    return chosen


def concerns(chosen: Sequence[ChosenPhase]) -> list[str]:
    """Check count, order, grids and timing before anything is downloaded; what is only said.

    Raises `LabError` for what the lab would refuse as well. Where nothing is known of a phase the
    reader process checks it alone.
    """
    phases = [facts for one in chosen if (facts := one.facts) is not None]
    if len(phases) < len(chosen):
        return []
    said = []
    series = [one.examined.facts.series_id for one in chosen]
    for concern in check_choice(phases, [one.role for one in chosen], series):
        refusal, sentence = fault_words(concern)
        if refusal is not None:
            raise refusal(sentence)
        said.append(sentence)
    return said


def describe(number: int, examined: ExaminedSeries) -> str:
    """One line on what a series holds."""
    facts = examined.facts
    counted = f"series {number}: {facts.instance_count} instances"
    if examined.series.arriving:
        # Said and not waited for: who runs it by hand can look again.
        counted += " so far, more are still arriving"
    if facts.unclear is not None:
        return f"{counted}, {unclear_words(facts.unclear)}"
    if len(facts.phases) < 2:
        return counted
    values = ", ".join(phase.value for phase in facts.phases)
    return f"{counted}, {len(facts.phases)} phases by {facts.phases[0].keyword}: {values}"


def _given(examined: Sequence[ExaminedSeries], roles: Sequence[str]) -> tuple[ChosenPhase, ...]:
    """One series for each role, in their order. The reader process checks what they hold."""
    for number, one in enumerate(examined, 1):
        if len(one.facts.phases) > 1:
            raise WrongPhaseCount(
                f"series {number} was given for one role and holds {len(one.facts.phases)} phases: "
                f"choose with --phase {roles[number - 1]}="
                f"{f'{number}/' if len(examined) > 1 else ''}KEYWORD:VALUE"
            )
    return tuple(
        ChosenPhase(role, number, one, "", "", f"given as series {number}")
        for number, (role, one) in enumerate(zip(roles, examined, strict=True), 1)
    )


def _found(examined: Sequence[ExaminedSeries], roles: Sequence[str]) -> tuple[ChosenPhase, ...]:
    """By the rules that the site proposes by."""
    proposal = propose([one.facts for one in examined], roles)
    if proposal.problem is not None:
        raise refusal_of(proposal.problem)
    by_id = {one.facts.series_id: (number, one) for number, one in enumerate(examined, 1)}
    for number, one in enumerate(examined, 1):
        reason = proposal.left_out.get(one.facts.series_id)
        if reason is not None:
            # It was named by hand: to run without it would be a guess.
            raise WrongPhaseCount(
                f"series {number} was given and takes no part ({left_out_words(reason)}): leave it "
                "away, or say what each role is with --phase"
            )
    return tuple(
        ChosenPhase(
            choice.role, *by_id[choice.series_id], choice.keyword, choice.value, _reason(choice)
        )
        for choice in proposal.choices
    )


def _reason(choice: Choice) -> str:
    place = (
        f"the last of {choice.of} phases"
        if choice.place == choice.of
        else f"phase {choice.place} of {choice.of} in time order"
    )
    if choice.seconds_after_first is None or choice.place == 1:
        return place
    return f"{place}, {choice.seconds_after_first:.0f} s after the first"


def _said(
    examined: Sequence[ExaminedSeries], roles: Sequence[str], phase_options: Sequence[PhaseOption]
) -> tuple[ChosenPhase, ...]:
    said = {one.role: one for one in phase_options}
    if set(said) != set(roles):
        raise CannotInfer(f"--phase must say every role of the model: {', '.join(roles)}")
    chosen = []
    for role in roles:
        one = said[role]
        if one.place is None and len(examined) > 1:
            raise CannotInfer(
                f"--phase {role} must say which of the {len(examined)} series: "
                f"{role}=N/KEYWORD:VALUE"
            )
        place = one.place or 1
        if place > len(examined):
            raise CannotInfer(
                f"--phase {role} names series {place}, and {len(examined)} were given"
            )
        series = examined[place - 1]
        if one.keyword and not series.holds(one.keyword, one.value):
            raise WrongPhaseCount(
                f"no image of series {place} has the {one.keyword} of --phase {role}"
            )
        chosen.append(ChosenPhase(role, place, series, one.keyword, one.value, "by hand"))
    if len({(one.number, one.keyword, one.value) for one in chosen}) < len(chosen):
        raise CannotInfer("--phase gives two roles the same phase")
    return tuple(chosen)


def _wrong_count(examined: Sequence[ExaminedSeries], roles: Sequence[str]) -> LabError:
    held = ""
    if any(one.facts.unclear for one in examined):
        held = ", and the phases inside cannot be told apart"
    return WrongPhaseCount(
        f"the model takes {len(roles)} series ({', '.join(roles)}) or fewer that hold several "
        f"phases, and {len(examined)} were given{held}"
    )
