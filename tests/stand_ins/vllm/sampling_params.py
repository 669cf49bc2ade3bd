"""What vLLM keeps here."""

from enum import Enum


class RequestOutputKind(Enum):
    """How outputs come."""

    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2
