"""Generation from a local checkpoint with `transformers`, in length-sorted left-padded batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracepipe import progress
from tracepipe.study import Sampling


@dataclass(frozen=True)
class Generated:
    """What came back for one prompt. `finish_reason` is `stop`, or `length` at the token cap."""

    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int


def generate(model_path: str, prompts: Sequence[str], sampling: Sampling, seed: int, label: str) -> list[Generated]:
    """Answer each user message once, in order.

    Batches are formed over prompts sorted by length, so that the same seed, prompts and batch size
    give the same text whatever the order the prompts came in is made of.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not prompts:
        return []
    quieten()
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype="auto")
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    encoded = [prompt_tokens(tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda index: (len(encoded[index]), prompts[index]))
    torch.manual_seed(seed)
    found: dict[int, Generated] = {}
    with progress.task(label, len(prompts)) as advance, torch.inference_mode():
        for start in range(0, len(order), sampling.batch_size):
            batch = order[start : start + sampling.batch_size]
            answers = generate_batch(model, tokenizer, [encoded[index] for index in batch], sampling)
            found.update(zip(batch, answers, strict=True))
            advance(len(batch))
    return [found[index] for index in range(len(prompts))]


def quieten() -> None:
    """Switch off the library's own progress bars; progress is reported in one place."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def prompt_tokens(tokenizer: Any, prompt: str) -> list[int]:
    """Return the tokens of a user message in the chat template, up to where the model begins to write."""
    messages = [{"role": "user", "content": prompt}]
    tokens: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return tokens


def generate_batch(model: Any, tokenizer: Any, encoded: list[list[int]], sampling: Sampling) -> list[Generated]:
    """Continue several tokenised prompts at once; randomness comes from torch's current generator."""
    import torch

    width = max(map(len, encoded))
    inputs = torch.full((len(encoded), width), tokenizer.pad_token_id)
    mask = torch.zeros_like(inputs)
    for row, tokens in enumerate(encoded):
        inputs[row, width - len(tokens) :] = torch.tensor(tokens)
        mask[row, width - len(tokens) :] = 1
    ends = _end_tokens(model, tokenizer)
    written = model.generate(
        input_ids=inputs.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=sampling.max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=sorted(ends),
        **_draw(sampling),
    )
    return [
        _read(tokenizer, tokens, row, ends) for tokens, row in zip(encoded, written[:, width:].tolist(), strict=True)
    ]


def _draw(sampling: Sampling) -> dict[str, Any]:
    options: dict[str, Any] = {"repetition_penalty": sampling.repetition_penalty, "do_sample": sampling.temperature > 0}
    if sampling.temperature > 0:
        options |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    return options


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    configured = model.generation_config.eos_token_id
    ends = set(configured) if isinstance(configured, list) else {configured}
    return (ends | {tokenizer.eos_token_id}) - {None}


def _read(tokenizer: Any, prompt: list[int], row: list[int], ends: set[int]) -> Generated:
    stop = next((index for index, token in enumerate(row) if token in ends), None)
    body = row if stop is None else row[:stop]
    return Generated(
        text=tokenizer.decode(body, skip_special_tokens=True).strip(),
        finish_reason="length" if stop is None else "stop",
        input_tokens=len(prompt),
        output_tokens=len(body) + (stop is not None),
    )
