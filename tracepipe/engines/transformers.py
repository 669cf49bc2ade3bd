"""Generation with `transformers`: rows that have ended give their place to the next while others are being written.

`generate` of the library writes a batch until its longest row ends; here the batch changes as it goes (continuous
batching), so that a step is spent on rows that still need it. A row's randomness is its own: what it says does not
depend on what is written beside it, up to the rounding of sums.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracepipe.engines.generation import Call, EngineError, Generated, by_length
from tracepipe.engines.settings import Sampling, TransformersEngine

_DRAWN_AHEAD = 512
_TURNOVER = 8  # rows change when one of so many has ended: moving the cache costs about as much as a step


@dataclass
class _Row:
    call: Call
    limit: int
    generator: Any
    written: list[int] = field(default_factory=list)
    ahead: list[float] = field(default_factory=list)
    ended: str | None = None
    reported: bool = False

    def uniform(self) -> float:
        """Return the row's next number in [0, 1)."""
        if not self.ahead:
            import torch

            self.ahead = torch.rand(min(self.limit, _DRAWN_AHEAD), generator=self.generator).tolist()[::-1]
        return self.ahead.pop()

    def take(self, token: int, ends: set[int]) -> None:
        """Add a token, and notice the end."""
        self.written.append(token)
        if token in ends:
            self.ended = "stop"
        elif len(self.written) == self.limit:
            self.ended = "length"


class Transformers:
    """A model in this process, on a GPU where there is one."""

    def __init__(self, model: str, settings: TransformersEngine) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        quieten()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model)
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=settings.dtype)
        self._model = loaded.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        self._slots = settings.slots

    def generate(self, calls: Sequence[Call], sampling: Sampling) -> Iterator[Generated]:
        """Answer every call once; see `LocalEngine`."""
        return write(self._model, self.tokenizer, calls, sampling, self._slots)

    def close(self) -> None:
        """Let the model go."""
        del self._model


def quieten() -> None:
    """Switch off the library's own progress bars; progress is reported in one place."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def write(model: Any, tokenizer: Any, calls: Sequence[Call], sampling: Sampling, slots: int) -> Iterator[Generated]:
    """Continue every call's tokens, at most `slots` at once, and yield each as it ends.

    Raises:
        EngineError: If a prompt fills the model's context, or the model keeps more than keys and values of the past.
    """
    import torch

    _expect_attention(model)
    waiting = deque(_row(call, sampling, model) for call in by_length(calls))
    batch = _Batch(model, tokenizer, sampling)
    while waiting or batch.rows:
        free = slots - batch.alive
        with torch.inference_mode():  # not around the yield: whoever takes a text would be in it too
            if waiting and free * _TURNOVER >= slots:
                batch.admit([waiting.popleft() for _ in range(min(free, len(waiting)))])
            else:
                batch.step()
        yield from batch.collect(last=not waiting)


def _row(call: Call, sampling: Sampling, model: Any) -> _Row:
    import torch

    context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31
    limit = min(sampling.max_new_tokens, context - len(call.tokens))
    if limit <= 0:
        raise EngineError(f"{call.key}: its prompt of {len(call.tokens)} tokens fills the model's context of {context}")
    return _Row(call, limit, torch.Generator().manual_seed(call.seed))


def _expect_attention(model: Any) -> None:
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - {"full_attention"}
    if kinds:
        raise EngineError(
            f"the engine transformers keeps keys and values of full attention alone, and this model has layers of kind "
            f"{', '.join(sorted(kinds))}; use engine: vllm"
        )


class _Batch:
    """Rows being written, left-padded to one width; their last token is not yet in the cache."""

    def __init__(self, model: Any, tokenizer: Any, sampling: Sampling) -> None:
        self.rows: list[_Row] = []
        self._model = model
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._ends = end_tokens(model, tokenizer)
        self._chooser = _Chooser(sampling)
        self._tokens: Any = None  # [rows, width + 1]
        self._mask: Any = None  # [rows, width]
        self._cache: Any = None

    @property
    def alive(self) -> int:
        """The number of rows still being written."""
        return sum(row.ended is None for row in self.rows)

    def admit(self, rows: list[_Row]) -> None:
        """Read the prompts of new rows, write their first tokens, and put them beside the others."""
        import torch
        from torch.nn.functional import pad

        width = max(len(row.call.tokens) for row in rows)
        device = self._model.device
        # A row's padding is its own first token, which no attention sees: repetition is judged by tokens seen.
        tokens = torch.tensor([[row.call.tokens[0]] * (width - len(row.call.tokens)) + row.call.tokens for row in rows])
        lengths = torch.tensor([len(row.call.tokens) for row in rows])
        mask = (torch.arange(width) >= width - lengths[:, None]).long()
        tokens, mask = tokens.to(device), mask.to(device)
        read = self._model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            past_key_values=_empty_cache(),
            use_cache=True,
            logits_to_keep=1,
        )
        tokens = self._append(rows, tokens, read.logits[:, -1])
        self._select([index for index, row in enumerate(self.rows) if row.ended is None])
        if not self.rows:
            self.rows, self._tokens, self._mask, self._cache = rows, tokens, mask, read.past_key_values
            return
        wide = max(width, self._mask.shape[1])
        old, new = wide - self._mask.shape[1], wide - width
        self._tokens = torch.cat([_padded(self._tokens, old), _padded(tokens, new)])
        self._mask = torch.cat([pad(self._mask, (old, 0)), pad(mask, (new, 0))])
        for mine, theirs in zip(self._cache.layers, read.past_key_values.layers, strict=True):
            mine.keys = torch.cat([pad(mine.keys, (0, 0, old, 0)), pad(theirs.keys, (0, 0, new, 0))])
            mine.values = torch.cat([pad(mine.values, (0, 0, old, 0)), pad(theirs.values, (0, 0, new, 0))])
        self.rows = self.rows + rows

    def step(self) -> None:
        """Write one token of every row."""
        from torch.nn.functional import pad

        self._mask = pad(self._mask, (0, 1), value=1)
        logits = self._model(
            input_ids=self._tokens[:, -1:],
            attention_mask=self._mask,
            position_ids=self._mask.sum(-1, keepdim=True) - 1,
            past_key_values=self._cache,
            use_cache=True,
        ).logits[:, -1]
        self._tokens = self._append(self.rows, self._tokens, logits)

    def collect(self, last: bool) -> Iterator[Generated]:
        """Yield the rows that have just ended; drop them when enough have, if no others will take their places."""
        for row in self.rows:
            if row.ended and not row.reported:
                row.reported = True
                yield self._generated(row)
        alive = [index for index, row in enumerate(self.rows) if row.ended is None]
        if not alive or (last and (len(self.rows) - len(alive)) * _TURNOVER >= len(self.rows)):
            self._select(alive)

    def _append(self, rows: list[_Row], tokens: Any, logits: Any) -> Any:
        """Choose every row's next token and return the tokens with it."""
        import torch

        chosen = self._chooser.choose(tokens, logits, rows)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            if row.ended is None:
                row.take(token, self._ends)
        return torch.cat([tokens, chosen[:, None]], dim=1)

    def _select(self, kept: list[int]) -> None:
        """Keep some rows, and cut the columns that only padding fills."""
        import torch

        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[index] for index in kept]
        if not kept:
            self._tokens = self._mask = self._cache = None
            return
        index = torch.tensor(kept, device=self._mask.device)
        mask = self._mask[index]
        begin = int(mask.any(0).int().argmax())
        self._mask, self._tokens = mask[:, begin:], self._tokens[index, begin:]
        for layer in self._cache.layers:
            layer.keys = layer.keys[index, :, begin:].contiguous()
            layer.values = layer.values[index, :, begin:].contiguous()

    def _generated(self, row: _Row) -> Generated:
        body = row.written[:-1] if row.ended == "stop" else row.written
        return generated(self._tokenizer, row.call, body, str(row.ended), len(row.written))


class _Chooser:
    """Chooses next tokens: the library's own processors, then one draw per row from the row's own numbers."""

    def __init__(self, sampling: Sampling) -> None:
        from transformers import (
            LogitsProcessorList,
            RepetitionPenaltyLogitsProcessor,
            TemperatureLogitsWarper,
            TopKLogitsWarper,
            TopPLogitsWarper,
        )

        self._greedy = sampling.temperature == 0
        self._processors = LogitsProcessorList()
        if sampling.repetition_penalty != 1:
            self._processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if not self._greedy:
            self._processors.append(TemperatureLogitsWarper(sampling.temperature))
            if sampling.top_k:
                self._processors.append(TopKLogitsWarper(sampling.top_k))
            if sampling.top_p < 1:
                self._processors.append(TopPLogitsWarper(sampling.top_p))

    def choose(self, tokens: Any, logits: Any, rows: list[_Row]) -> Any:
        """Return one token per row from logits [rows, vocabulary]."""
        import torch

        scores = self._processors(tokens, logits.float())
        if self._greedy:
            return scores.argmax(-1)
        upto = scores.softmax(-1).double().cumsum(-1)
        drawn = torch.tensor([row.uniform() for row in rows], dtype=torch.float64, device=upto.device)
        return torch.searchsorted(upto, drawn[:, None] * upto[:, -1:], right=True)[:, 0]


def _empty_cache() -> Any:
    from transformers import DynamicCache

    return DynamicCache()


def _padded(tokens: Any, columns: int) -> Any:
    import torch

    return torch.cat([tokens[:, :1].expand(-1, columns), tokens], dim=1)


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Return the tokens that end a text: those of the generation configuration, and the tokenizer's."""
    configured = model.generation_config.eos_token_id
    ends = set(configured) if isinstance(configured, list) else {configured}
    return (ends | {tokenizer.eos_token_id}) - {None}


def generated(tokenizer: Any, call: Call, body: list[int], finish_reason: str, output_tokens: int) -> Generated:
    """Return a record from the tokens written, without the one that ended them.

    A think block that the template opened belongs to the text: without its tag a trace that was cut off would pass
    for an answer.
    """
    text = call.opened + tokenizer.decode(body, skip_special_tokens=True)
    return Generated(call.key, text.strip(), finish_reason, len(call.tokens), output_tokens, call.text)
