"""Reach a target through the `openai` package: the Responses API or Chat Completions.

A response is kept as the provider sent it; reading it is a separate, repeatable step.
"""

import json
import os
from dataclasses import dataclass
from typing import Any

import openai

from tracepipe.identity import request_key
from tracepipe.spec import SpecError
from tracepipe.target import Target


@dataclass(frozen=True)
class Reading:
    """What a raw response says. `trace` is set only where the provider sent one."""

    response_id: str
    model: str
    answer: str
    summary: str | None
    trace: str | None
    outcome: str
    reason: str | None
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int


def client(target: Target, base_url: str) -> openai.AsyncOpenAI:
    """Open a client; retries are switched off, since they are made in one place, by the collector.

    Raises:
        SpecError: If the variable that should hold the key is not set; names the variable.
    """
    key = os.environ.get(target.api_key_env, "") if target.api_key_env else "none"
    if not key:
        raise SpecError(
            f"target '{target.name}': api_key_env: the environment variable {target.api_key_env} is not set"
        )
    return openai.AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, timeout=target.limits.timeout_seconds)


def request_body(target: Target, prompt: str) -> dict[str, Any]:
    """Return the whole request for one prompt, as it is sent and as it is hashed."""
    options = {"temperature": target.temperature, "top_p": target.top_p}
    body: dict[str, Any] = {"model": target.model} | {key: value for key, value in options.items() if value is not None}
    reasoning = target.reasoning.model_dump(exclude_none=True) if target.reasoning else {}
    if target.api == "responses":
        body |= {"input": prompt, "max_output_tokens": target.max_output_tokens}
        return body | ({"reasoning": reasoning} if reasoning else {})
    body |= {"messages": [{"role": "user", "content": prompt}], "max_completion_tokens": target.max_output_tokens}
    return body | ({"reasoning_effort": reasoning["effort"]} if "effort" in reasoning else {})


def key_of(target: Target, prompt: str) -> str:
    """Return the identity of asking this target this prompt. A served target's port does not enter."""
    return request_key(
        endpoint=target.api, base_url=target.base_url, model=target.model, body=request_body(target, prompt)
    )


async def send(connection: openai.AsyncOpenAI, target: Target, prompt: str) -> dict[str, Any]:
    """Send one request and return the response's JSON as it came."""
    body = request_body(target, prompt)
    api = connection.responses if target.api == "responses" else connection.chat.completions
    raw = await api.with_raw_response.create(**body)
    content: dict[str, Any] = json.loads(raw.text() if callable(raw.text) else raw.text)
    return content


def take_out_trace(target: Target, response: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Separate a response from the hidden trace that an open target's server sends along.

    Returns:
        The response without the trace, and the trace.
    """
    if target.api == "responses":
        kept, parts = [], []
        for item in response.get("output", []):
            if item.get("type") == "reasoning" and item.get("content"):
                parts += [part.get("text", "") for part in item["content"]]
                item = {**item, "content": None}  # noqa: PLW2901
            kept.append(item)
        return {**response, "output": kept}, "\n".join(parts) or None
    trace = None
    choices = []
    for choice in response.get("choices", []):
        message = dict(choice.get("message") or {})
        hidden = [message.pop(key, None) for key in ("reasoning", "reasoning_content")]
        trace = trace or next((text for text in hidden if text), None)
        choices.append({**choice, "message": message})
    return {**response, "choices": choices}, trace


def read(target: Target, response: dict[str, Any]) -> Reading:
    """Read a raw response. What cannot be read becomes the outcome `parse_error`, never an exception."""
    try:
        return _read_responses(response) if target.api == "responses" else _read_chat(response)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        return _unreadable(response, f"{type(error).__name__}: {error}")


def _unreadable(response: dict[str, Any], reason: str) -> Reading:
    response_id, model = str(response.get("id", "")), str(response.get("model", ""))
    return Reading(response_id, model, "", None, None, "parse_error", reason, 0, 0, 0)


def _read_responses(response: dict[str, Any]) -> Reading:
    texts, refusals, summaries = [], [], []
    for item in response["output"]:
        if item["type"] == "reasoning":
            summaries += [part["text"] for part in item.get("summary") or []]
        elif item["type"] == "message":
            texts += [part["text"] for part in item["content"] if part["type"] == "output_text"]
            refusals += [part["refusal"] for part in item["content"] if part["type"] == "refusal"]
    answer, summary = "\n".join(texts).strip(), "\n\n".join(summaries).strip()
    cut = (response.get("incomplete_details") or {}).get("reason") if response.get("status") == "incomplete" else None
    outcome, reason = _outcome(answer, cut, "\n".join(refusals))
    usage = response["usage"]
    return Reading(
        response_id=response["id"],
        model=response["model"],
        answer=answer,
        summary=summary or None,
        trace=None,
        outcome=outcome,
        reason=reason,
        input_tokens=usage["input_tokens"],
        output_tokens=usage["output_tokens"],
        reasoning_tokens=(usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
    )


def _read_chat(response: dict[str, Any]) -> Reading:
    choice = response["choices"][0]
    message = choice["message"]
    answer = (message.get("content") or "").strip()
    finish = choice.get("finish_reason")
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(finish)
    outcome, reason = _outcome(answer, cut, message.get("refusal") or "")
    usage = response["usage"]
    return Reading(
        response_id=response["id"],
        model=response["model"],
        answer=answer,
        summary=None,
        trace=None,
        outcome=outcome,
        reason=reason,
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        reasoning_tokens=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
    )


def _outcome(answer: str, cut: str | None, refusal: str) -> tuple[str, str | None]:
    if refusal or cut == "content_filter":
        return "refused", refusal or cut
    if cut:
        return "truncated", f"incomplete: {cut}"
    if not answer:
        return "empty_answer", "the response holds no text"
    return "ok", None
