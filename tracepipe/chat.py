"""Chat templates: how a prompt becomes the tokens a model is asked with, and what a template does to think blocks."""

from typing import Any, Literal

from tracepipe.text import THINK_CLOSE, THINK_OPEN

ThinkState = Literal["none", "open", "closed"]


def opening(tokenizer: Any, prompt: str, thinking: bool | None = None) -> str:
    """Return a user message in the chat template, up to where the model begins to write.

    Args:
        tokenizer: The model's.
        prompt: The user message.
        thinking: Passed to the template as `enable_thinking`; None leaves its own default.
    """
    messages = [{"role": "user", "content": prompt}]
    text: str = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **_switch(thinking))
    return text


def prompt_tokens(tokenizer: Any, prompt: str, thinking: bool | None = None) -> list[int]:
    """Return the tokens of `opening`, as a server would make them from the message."""
    messages = [{"role": "user", "content": prompt}]
    tokens: list[int] = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False, **_switch(thinking)
    )
    return tokens


def _switch(thinking: bool | None) -> dict[str, bool]:
    return {} if thinking is None else {"enable_thinking": thinking}


def think_state(opening_text: str) -> ThinkState:
    """Say what the template has done to the think block before the model writes its first token."""
    begun, _, rest = opening_text.rpartition(THINK_OPEN)
    if not begun or rest.strip() not in ("", THINK_CLOSE):
        return "none"
    return "closed" if THINK_CLOSE in rest else "open"


def begun_block(opening_text: str) -> str:
    """Return the think tag that the template wrote for the model, with the space behind it, or nothing."""
    return opening_text[opening_text.rindex(THINK_OPEN) :] if think_state(opening_text) == "open" else ""


def has_switch(tokenizer: Any) -> bool:
    """Whether a template renders differently with thinking on and off."""
    return opening(tokenizer, "question", True) != opening(tokenizer, "question", False)


def keeps_traces(tokenizer: Any) -> bool:
    """Whether an assistant's message keeps its trace when it passes through the template."""
    said = f"{THINK_OPEN}\ntrace inside\n{THINK_CLOSE}\n\nanswer"
    messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": said}]
    return "trace inside" in tokenizer.apply_chat_template(messages, tokenize=False)
