"""What can be wrong with a message.

ContractError
├── UndecodableMessage   reject without requeue: no later try can read it
└── UnknownVersion       keep it (retry tier, redelivery): a newer reader will know it
"""

from __future__ import annotations


class ContractError(Exception):
    """Base of all errors of the contract; its text never quotes the body."""


class UndecodableMessage(ContractError):
    """Not one of our messages, or not a valid one. Reject it without requeue."""


class UnknownVersion(ContractError):
    """A type that we know in a version that we do not. Keep it: a deploy is under way."""
