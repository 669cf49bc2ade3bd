"""What every way of asking a target has in common: requests by key in, one reply per key out, in any order."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from tracepipe.engines.failures import Failure
from tracepipe.engines.reading import Reading
from tracepipe.identity import request_key
from tracepipe.target import Target


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a target, by the key under which everything about it is kept."""

    key: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request: the reading of its response, or why there is none."""

    key: str
    result: Reading | Failure


class Engine(Protocol):
    """A way to ask."""

    def answers(self, requests: Iterable[Request]) -> AsyncIterator[Reply]:
        """Ask, and yield one reply per request; requests that a stopped ledger does not allow have none."""


def request_of(target: Target, prompt: str) -> Request:
    """Return the question with its key: it covers endpoint, address, model, revision and the whole body.

    A served target's port does not enter, nor whether the request travels alone or in a batch.
    """
    model = target.model if target.revision is None else f"{target.model}@{target.revision.isoformat()}"
    body = body_of(target, prompt)
    return Request(request_key(endpoint=target.api, base_url=target.base_url, model=model, body=body), prompt)


def body_of(target: Target, prompt: str) -> dict[str, Any]:
    """Return the whole request for one prompt, as it is sent and as it is hashed."""
    options = {"temperature": target.temperature, "top_p": target.top_p}
    body: dict[str, Any] = {"model": target.model} | {key: value for key, value in options.items() if value is not None}
    reasoning = target.reasoning.model_dump(exclude_none=True) if target.reasoning else {}
    if target.api == "responses":
        body |= {"input": prompt, "max_output_tokens": target.max_output_tokens}
        return body | ({"reasoning": reasoning} if reasoning else {})
    body |= {"messages": [{"role": "user", "content": prompt}], "max_completion_tokens": target.max_output_tokens}
    body |= {"reasoning_effort": reasoning["effort"]} if "effort" in reasoning else {}
    return body | ({"chat_template_kwargs": target.chat_template_kwargs} if target.chat_template_kwargs else {})


def path_of(target: Target) -> str:
    """Return the endpoint's path below the base URL."""
    return "/responses" if target.api == "responses" else "/chat/completions"
