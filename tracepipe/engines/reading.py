"""Read a raw response, Responses API or Chat Completions; a separate step that can be repeated at any time."""

import json
from dataclasses import dataclass
from typing import Any

from tracepipe.target import Target
from tracepipe.text import whole_characters

WITHHELD = "the body is no JSON and may hold the trace; it lies in the trace log"


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens a response was billed for."""

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a raw response says; `usage` is None where it does not say what it cost."""

    response_id: str | None
    model: str | None
    answer: str
    summary: str | None
    outcome: str
    reason: str | None
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Separated:
    """A response body without the hidden trace that a server sent along, and that trace."""

    visible: str
    response_id: str | None
    trace: str | None


def separate(target: Target, body: str) -> Separated:
    """Take a hidden trace out of a response body; a body without one stays as it is, byte for byte."""
    content = _decoded(body)
    if content is None:
        return Separated(json.dumps({"withheld": WITHHELD}), None, body) if target.open else Separated(body, None, None)
    take_out = _take_out_of_responses if target.api == "responses" else _take_out_of_chat
    trace = None if target.api == "chat" and target.chat_reasoning == "summary" else take_out(content)
    response_id = str(content.get("id", ""))
    return Separated(json.dumps(content, ensure_ascii=False) if trace else body, response_id, trace)


def _decoded(body: str) -> dict[str, Any] | None:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _take_out_of_responses(content: dict[str, Any]) -> str | None:
    parts: list[str] = []
    for item in _dicts(content.get("output")):
        if item.get("type") == "reasoning" and item.get("content"):
            parts += [str(part.get("text", "")) for part in _dicts(item["content"])]
            item["content"] = None
    return "\n".join(parts) or None


def _take_out_of_chat(content: dict[str, Any]) -> str | None:
    hidden: list[str] = []
    for choice in _dicts(content.get("choices")):
        message = choice.get("message")
        if isinstance(message, dict):
            texts = [message.pop(name, None) for name in ("reasoning", "reasoning_content", "reasoning_details")]
            hidden += [str(text) for text in texts if text][:1]
    return "\n".join(hidden) or None


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def read(target: Target, body: str) -> Reading:
    """Read a raw response body. What cannot be read becomes the outcome `parse_error`, never an exception."""
    content = _decoded(body)
    if content is None:
        return Reading(None, None, "", None, "parse_error", f"the body is no JSON object: {body[:80]!r}", None)
    if "withheld" in content:
        return Reading(None, None, "", None, "parse_error", WITHHELD, None)
    usage = _usage(content)
    try:
        answer, summary, outcome, reason = (_responses if target.api == "responses" else _chat)(target, content)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        answer, summary, outcome, reason = "", None, "parse_error", f"unexpected shape: {type(error).__name__}: {error}"
    if outcome == "ok" and target.exposes == "summary" and summary is None:
        outcome, reason = "empty_summary", "the response holds no reasoning summary"
    return Reading(
        response_id=_text(content.get("id")),
        model=_text(content.get("model")),
        answer=answer,
        summary=summary,
        outcome=outcome,
        reason=reason,
        usage=usage,
    )


def usage_of(body: str) -> Usage | None:
    """Return what a raw response body says it was billed for, or None where it does not say."""
    content = _decoded(body)
    return None if content is None else _usage(content)


def _usage(content: dict[str, Any]) -> Usage | None:
    usage: Any = content.get("usage")
    try:
        written = usage["output_tokens"] if "output_tokens" in usage else usage["completion_tokens"]
        details = usage.get("output_tokens_details") or usage.get("completion_tokens_details") or {}
        return Usage(
            input_tokens=int(usage["input_tokens"] if "input_tokens" in usage else usage["prompt_tokens"]),
            output_tokens=int(written),
            reasoning_tokens=int(details.get("reasoning_tokens") or 0),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


_Parts = tuple[str, str | None, str, str | None]


def _responses(_: Target, content: dict[str, Any]) -> _Parts:
    texts, refusals, summaries = [], [], []
    for item in content["output"]:
        if item["type"] == "reasoning":
            summaries += [part["text"] for part in item.get("summary") or []]
        elif item["type"] == "message":
            texts += [part["text"] for part in item["content"] if part["type"] == "output_text"]
            refusals += [part["refusal"] for part in item["content"] if part["type"] == "refusal"]
    answer, summary = _clean("\n".join(texts)), _clean("\n\n".join(summaries))
    cut = (content.get("incomplete_details") or {}).get("reason") if content.get("status") == "incomplete" else None
    if content.get("status") == "failed":
        error = content.get("error") or {}
        return answer, summary or None, "api_error", f"the response failed: {error.get('code')}: {error.get('message')}"
    return (answer, summary or None, *_outcome(answer, cut, _clean("\n".join(refusals))))


def _chat(target: Target, content: dict[str, Any]) -> _Parts:
    choice = content["choices"][0]
    message = choice["message"]
    answer = _clean(message.get("content") or "")
    shown = message.get("reasoning") or message.get("reasoning_content") or ""
    summary = _clean(shown) if target.chat_reasoning == "summary" else ""
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(choice.get("finish_reason"))
    return (answer, summary or None, *_outcome(answer, cut, _clean(message.get("refusal") or "")))


def _outcome(answer: str, cut: str | None, refusal: str) -> tuple[str, str | None]:
    if refusal or cut == "content_filter":
        return "refused", refusal or cut
    if cut:
        return "truncated", f"incomplete: {cut}"
    if not answer:
        return "empty_answer", "the response holds no text"
    return "ok", None


def _clean(text: str) -> str:
    """Strip a text, and replace halves of surrogate pairs, which JSON may carry and no table can hold."""
    return whole_characters(text).strip()


def _text(value: Any) -> str | None:
    return None if value is None else _clean(str(value))
