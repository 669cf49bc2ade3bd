"""What the fake provider answers, and what it bills for it: all decided by the prompt's own words."""

import hashlib
import json
from typing import Any

TRACE = "the hidden trace"
INPUT_PRICE, OUTPUT_PRICE = 1.0, 10.0
"""USD per million tokens."""


def share(*parts: object) -> float:
    """A number from 0 to 1 that depends on the parts alone."""
    digest = hashlib.sha256("|".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def usage(prompt: str) -> tuple[int, int]:
    """Input and output tokens of an answer to the prompt; `even` prompts all take the same."""
    return (10, 100) if prompt.startswith("even") else (len(prompt), 20 + int(100 * share("usage", prompt)))


def bill(prompt: str, price_share: float = 1.0) -> float:
    """What the provider bills for an answer, USD."""
    asked, written = usage(prompt)
    return (asked * INPUT_PRICE + written * OUTPUT_PRICE) * price_share / 1e6


def body_of(path: str, prompt: str, words: str, version: str = "m-2026") -> str:
    """The body of an answer to a prompt whose fate the words say."""
    if words.startswith("garbage"):
        return '{"id": "resp_1", "output": [{"type": "mess'
    make = _response if path == "responses" else _completion
    # Half a surrogate pair can only be written as an escape.
    return json.dumps(make(prompt, words, version), ensure_ascii=words.startswith("half"))


def _response(prompt: str, words: str, version: str) -> dict[str, Any]:
    asked, written = usage(prompt)
    used = {
        "input_tokens": asked,
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": written // 2},
    }
    if words.startswith("odd"):
        return {"id": "resp_odd", "model": version, "output": [{"no": "type"}], "usage": used}
    text = {"type": "output_text", "text": "" if words.startswith("blank") else answer_to(prompt)}
    part = {"type": "refusal", "refusal": "no"} if words.startswith("refuse") else text
    summary = [] if words.startswith("no summary") else [{"text": "first part"}, {"text": "second part"}]
    reasoning: dict[str, Any] = {"type": "reasoning", "summary": [{"type": "summary_text", **one} for one in summary]}
    if words.startswith("trace"):
        reasoning["content"] = [{"type": "reasoning_text", "text": TRACE}]
    cut = words.startswith("cut")
    return {
        "id": f"resp_{prompt}",
        "model": version,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": [reasoning, {"type": "message", "content": [part]}],
        "usage": used,
    }


def _completion(prompt: str, words: str, version: str) -> dict[str, Any]:
    asked, written = usage(prompt)
    message = {"role": "assistant", "content": answer_to(prompt)}
    if words.startswith("trace"):
        message["reasoning" if words.endswith("!") else "reasoning_content"] = TRACE
    return {
        "id": f"chatcmpl_{prompt}",
        "model": version,
        "choices": [{"finish_reason": "length" if words.startswith("cut") else "stop", "message": message}],
        "usage": {"prompt_tokens": asked, "completion_tokens": written},
    }


def answer_to(prompt: str) -> str:
    """The answer: some prompts are answered with what JSON lines and tables may stumble over."""
    strange = {"break": "a\u2028b\u0085c\u000bd", "half": "\ud83d alone", "null": "a\u0000b"}
    return f"answer to {prompt}" + "".join(text for word, text in strange.items() if prompt.startswith(word))
