"""The lab's way to the archive: the only HTTP in the consumer."""

from consumer.orthanc.archive import Archive

__all__ = ["Archive"]
