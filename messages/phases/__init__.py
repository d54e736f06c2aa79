"""Which phase of which series plays which role, and why. Over plain values, for web and lab.

From the images of a series to a role: `parts` tells the phases of one series apart by places
(`positions`) and a keyword (`values`), as the last resort by their `numbering`; the images of
Enhanced MR are its `frames`. `heads` describes each with its time (`times`), grid and kind (`kind`,
by `words`), and `proposal` fills the roles from the `candidates` where no `doubts` stand against it
and no phase seems to be `missing`. What a person chose instead is looked at by `check`.
"""

from messages.phases.facts import GridFacts, PhaseFacts, SeriesFacts
from messages.phases.kind import LeftOut
from messages.phases.parts import Unclear
from messages.phases.proposal import DCE_ROLES, Choice, Problem, Proposal, propose

__all__ = [
    "DCE_ROLES",
    "Choice",
    "GridFacts",
    "LeftOut",
    "PhaseFacts",
    "Problem",
    "Proposal",
    "SeriesFacts",
    "Unclear",
    "propose",
]
