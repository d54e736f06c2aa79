"""The model of a stored request, as far as looking its choice up again needs one."""

from __future__ import annotations

from messages.lab import ModelDescriptor
from web.inference.models import InferenceRequest


def model_of(row: InferenceRequest) -> ModelDescriptor:
    """The model as it was asked for: its labs may be gone by now, or serve another version.

    Its name and its roles in the order of the request; the rest is filled in, and read by nobody.
    """
    return ModelDescriptor(
        name=row.model,
        version="",
        sha256="0" * 64,
        roles=tuple(str(item["role"]) for item in row.inputs),
        labels=("lesion",),
        notice="",
    )
