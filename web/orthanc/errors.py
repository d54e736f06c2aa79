"""What can go wrong between a page and the archive.

ArchiveError
├── ArchiveUnavailable          nothing is known; try again later (503)
│   └── TooMuchAtOnce           this process reads too much of it already (503)
├── UnreadableResult            a stored result cannot be drawn (502)
│   ├── TooLargeResult          to read it would take too much memory or time (502)
│   └── UnreadableReport        a stored report cannot be told (502)
├── UnusableAnswer              an object says more than a page can use (502)
│   ├── TooLongAnswer           it is too long, alone or with those before it (502)
│   └── NotLookedInto           a series has more than is looked into, or came too slowly (502)
├── SeriesChanged               the page counts the slices of an earlier moment (409)
└── NotInArchive                asking again will not help (404)
    ├── NotAnOrthancId
    ├── StudyNotFound
    ├── SeriesNotFound
    ├── PhaseNotFound
    ├── InstanceNotFound
    └── SliceNotFound
"""


class ArchiveError(Exception):
    """Base of everything that this package raises. The text quotes no DICOM value."""


class ArchiveUnavailable(ArchiveError):
    """The archive refused the connection, the credentials, or did not answer in time."""


class TooMuchAtOnce(ArchiveUnavailable):
    """No place was free in this process to read what is large: that says nothing of the archive."""


class UnreadableResult(ArchiveError):
    """A segmentation is there, but its frames cannot be laid on the slices."""


class TooLargeResult(UnreadableResult):
    """What is stored under a result's UID is larger than any result, or would become so."""


class UnreadableReport(UnreadableResult):
    """A report is there, and does not state what ours state where they state it."""


class UnusableAnswer(ArchiveError):
    """The tags of an object are too long, nested too deep or broken."""


class TooLongAnswer(UnusableAnswer):
    """The tags of an object, or those of all objects that were asked for, are too long."""


class NotLookedInto(UnusableAnswer):
    """Not all images of a series could be looked into, so it is not known which are of a phase."""


class SeriesChanged(ArchiveError):
    """The series has another number of slices than the page that asks knows of."""


class NotInArchive(ArchiveError):
    """What was asked for is not there."""


class NotAnOrthancId(NotInArchive):
    """The text does not have the form of an Orthanc identifier; it never entered a URL."""


class StudyNotFound(NotInArchive):
    """No study of that identifier."""


class SeriesNotFound(NotInArchive):
    """No series of that identifier, or it belongs to another study."""


class PhaseNotFound(NotInArchive):
    """The series is there and holds no image of that phase."""


class InstanceNotFound(NotInArchive):
    """No instance of that identifier."""


class SliceNotFound(NotInArchive):
    """The series has fewer slices than the index asks for."""
