"""How likely a model finds texts that it did not write: the log probability of a completion, token by token."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from tracepipe.engines.transformers import quieten
from tracepipe.training.render import IGNORED, Rendered, render

LIKELIHOODS = {"id": pl.String, "tokens": pl.Int64, "log_likelihood": pl.Float64}
_TOKENS_AT_ONCE = 16_384
_LOGITS_AT_ONCE = 1024


def likelihoods(model: str, rows: pl.DataFrame, thinking: bool | None) -> Iterator[dict[str, Any]]:
    """Measure completions as the model would write them behind its own chat template.

    Args:
        model: Folder or hub id.
        rows: `id, prompt, completion`.
        thinking: As the model would be asked.

    Yields:
        `id, tokens, log_likelihood` (natural logarithm, summed over tokens, the end token among them), in no order.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quieten()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).eval().to(device)
    rendered = {row["id"]: render(tokenizer, row["prompt"], row["completion"], thinking) for row in rows.to_dicts()}
    with torch.inference_mode():
        for batch in _batches(rendered):
            yield from _measured(loaded, {key: rendered[key] for key in batch}, device)


def _batches(rendered: dict[str, Rendered]) -> Iterator[list[str]]:
    """Texts of similar length together, at most so many tokens with their padding."""
    batch: list[str] = []
    for key in sorted(rendered, key=lambda one: (len(rendered[one].input_ids), one)):
        if batch and (len(batch) + 1) * len(rendered[key].input_ids) > _TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(key)
    if batch:
        yield batch


def _measured(model: Any, batch: dict[str, Rendered], device: str) -> Iterator[dict[str, Any]]:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = pad_sequence([torch.tensor(one.input_ids) for one in batch.values()], batch_first=True).to(device)
    lengths = torch.tensor([len(one.input_ids) for one in batch.values()])
    mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long().to(device)
    states = model.get_decoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    for place, (key, one) in enumerate(batch.items()):
        learnt = [index for index, label in enumerate(one.labels) if label != IGNORED]
        yield {"id": key, "tokens": len(learnt), "log_likelihood": _summed(model, states[place], ids[place], learnt)}


def _summed(model: Any, states: Any, ids: Any, places: Sequence[int]) -> float:
    """Add up the log probabilities of the tokens at these places; the vocabulary's logits are made in pieces."""
    total = 0.0
    for start in range(0, len(places), _LOGITS_AT_ONCE):
        wanted = places[start : start + _LOGITS_AT_ONCE]
        logits = model.get_output_embeddings()(states[[place - 1 for place in wanted]]).float()
        total += float(logits.log_softmax(-1).gather(-1, ids[wanted][:, None]).sum())
    return total
