"""Generation with Ray Data LLM: vLLM replicas that Ray places over a cluster."""

from collections.abc import Iterator, Sequence
from typing import Any

from tracepipe.engines.generation import Call, EngineError, Generated, by_length
from tracepipe.engines.settings import RayDataEngine, Sampling
from tracepipe.engines.vllm import configured_ends, engine_arguments, read, sampling_arguments


class RayData:
    """A model on a cluster: every chunk is one pass of a Ray Data pipeline over its rows."""

    def __init__(self, model: str, settings: RayDataEngine) -> None:
        import ray
        from ray.data.llm import build_processor
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(model)
        self._ends = configured_ends(model, self.tokenizer)
        self._ours = not ray.is_initialized()
        if self._ours:
            ray.init(address=settings.address, log_to_driver=False)
        self._pipeline = build_processor(processor_config(model, settings), postprocess=_kept)

    def generate(self, calls: Sequence[Call], sampling: Sampling) -> Iterator[Generated]:
        """Answer every call once; see `LocalEngine`."""
        import ray

        asked = {call.key: call for call in by_length(calls)}
        rows = [row_of(call, sampling, self._ends) for call in asked.values()]
        for row in self._pipeline(ray.data.from_items(rows)).iter_rows():
            call, tokens = asked[row["key"]], [int(token) for token in row["tokens"]]
            yield read(self.tokenizer, call, tokens, finish_reason(call, tokens, sampling, self._ends), self._ends)

    def close(self) -> None:
        """Leave the cluster, if this joined it."""
        import ray

        if self._ours:
            ray.shutdown()


def processor_config(model: str, settings: RayDataEngine) -> Any:
    """Return Ray's configuration: prompts arrive as tokens and leave as tokens, so no stage of its own renders them."""
    from ray.data.llm import vLLMEngineProcessorConfig

    named = {name: value for name, value in engine_arguments(model, settings).items() if name != "model"}
    return vLLMEngineProcessorConfig(
        model_source=model,
        engine_kwargs={name: value for name, value in named.items() if value is not None},
        concurrency=settings.workers,
        batch_size=settings.batch_rows,
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
    )


def row_of(call: Call, sampling: Sampling, ends: Sequence[int]) -> dict[str, Any]:
    """Return a call as the pipeline takes it."""
    fields = sampling_arguments(sampling, call.seed, ends)
    asked = {name: value for name, value in fields.items() if value is not None}
    return {"key": call.key, "prompt": call.text, "tokenized_prompt": call.tokens, "sampling_params": asked}


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    return {"key": row["key"], "tokens": row["generated_tokens"]}


def finish_reason(call: Call, tokens: Sequence[int], sampling: Sampling, ends: Sequence[int]) -> str:
    """Return why a text ended, which Ray Data does not pass on.

    Raises:
        EngineError: If it ended neither in an end token nor at the cap.
    """
    if tokens and tokens[-1] in ends:
        return "stop"
    if len(tokens) >= sampling.max_new_tokens:
        return "length"
    raise EngineError(
        f"{call.key}: vLLM gave the row up after {len(tokens)} tokens; run again, finished chunks are kept"
    )
