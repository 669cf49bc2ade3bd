"""What a failed request means: whether to try again, to give the row up, or to stop the run."""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from tracepipe.target import Target

if TYPE_CHECKING:
    import openai

Kind = Literal["passing", "row", "refused", "fatal"]

_PASSING_STATUS = {408, 409, 425, 429}
_REFUSALS = {"invalid_prompt", "content_filter", "content_policy_violation"}
_UNKNOWN_MODEL = {"invalid_model", "model_not_found", "unsupported_model"}
_OF_ALL_ROWS = {"unsupported_parameter", "unsupported_value", "unknown_parameter"}
_NEVER_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"}
_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that brought no response.

    Attributes:
        kind: `passing` may go through later; `row` and `refused` concern this request alone; `fatal` all requests.
        reason: For the row or, if fatal, for the user: what happened and what to do.
        billed: Whether the provider may bill it all the same.
        retry_after: Seconds the provider asks to wait.
    """

    kind: Kind
    reason: str
    billed: bool = False
    retry_after: float | None = None


def classify(error: "openai.APIError", target: Target) -> Failure:
    """Say what an exception of the client means."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return by_status(error.status_code, error.body, error.response.headers, target)
    cause = type(error.__cause__).__name__ if error.__cause__ else type(error).__name__
    # A request that reached the provider may be worked on, and billed, after the connection is gone.
    return Failure("passing", f"{type(error).__name__}: {cause}", billed=cause not in _NEVER_SENT)


def by_status(status: int, body: object, headers: Mapping[str, str], target: Target) -> Failure:
    """Say what an error answer of the provider means. Errors are not billed."""
    about: dict[str, Any] = body if isinstance(body, dict) else {}
    about = about["error"] if isinstance(about.get("error"), dict) else about
    message, codes = redacted(target, str(about.get("message") or "")), {str(about.get("code")), str(about.get("type"))}
    advice = _advice(status, message, codes, target)
    if advice:
        return Failure("fatal", f"target '{target.name}': {advice}")
    reason = f"HTTP {status}: {' '.join(sorted(codes - {'None'}))}: {message}"[:_LONGEST_REASON]
    if status in _PASSING_STATUS or status >= 500:
        return Failure("passing", reason, retry_after=_retry_after(headers))
    return Failure("refused" if codes & _REFUSALS else "row", reason)


def redacted(target: Target, text: str) -> str:
    """Keep the key out of a text that the provider wrote and may have repeated it in."""
    key = os.environ.get(target.api_key_env or "")
    return text.replace(key, "(key)") if key else text


def _advice(status: int, message: str, codes: set[str], target: Target) -> str | None:
    """What to do about an error that every request would meet; None where it may concern one request only."""
    if re.search(r"organi[sz]ation must be verified", message, re.IGNORECASE):
        return (
            "the provider says that the organization must be verified; verify it in the provider's settings and wait "
            "until that has taken effect, or do without summaries: reasoning.summary: null and exposes: answer"
        )
    if "insufficient_quota" in codes:
        return "the account has no credit left (insufficient_quota); add credit at the provider, then run again"
    if status == 401:
        return f"the key in {target.api_key_env or 'api_key_env (not given)'} is refused (HTTP 401); check the variable"
    if status == 403:
        return f"access is denied (HTTP 403); check what the key in {target.api_key_env} may use, and model"
    if status == 404 or codes & _UNKNOWN_MODEL:
        return f"the model '{target.model}' or the address is not known (HTTP {status}); check model, api and base_url"
    refused = f"the request is refused as a whole (HTTP {status}): {message[:_LONGEST_REASON]}; mend the target's file"
    return refused if codes & _OF_ALL_ROWS else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After-Ms` and `Retry-After`, in seconds or as a date."""
    milliseconds, given = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds is not None:
            return max(0.0, float(milliseconds) / 1000)
        return None if given is None else max(0.0, float(given))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(given or "").timestamp() - time.time())
    except ValueError:
        return None


_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


def exhausted_for(headers: Mapping[str, str]) -> float:
    """Return for how many seconds the rate headers say that nothing is left; 0 where something is."""
    waits = [0.0]
    for what in ("requests", "tokens"):
        if headers.get(f"x-ratelimit-remaining-{what}") == "0":
            waits.append(_seconds(headers.get(f"x-ratelimit-reset-{what}", "")))
    return max(waits)


def _seconds(text: str) -> float:
    """Read a duration as rate headers write it: `20ms`, `1s`, `6m0s`, or a plain number of seconds."""
    try:
        return float(text)
    except ValueError:
        found = _DURATION.fullmatch(text.strip())
    if not found:
        return 0.0
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
