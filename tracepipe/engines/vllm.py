"""Generation with vLLM's offline engine; its package lives in an environment of its own (`envs/vllm.txt`)."""

from collections.abc import Iterator, Sequence
from typing import Any

from tracepipe.engines.generation import Call, EngineError, Generated, by_length
from tracepipe.engines.settings import Sampling, VllmEngine
from tracepipe.engines.transformers import generated

FINISHED = ("stop", "length")
"""The finish reasons that are a model's own; vLLM also knows abort, error and repetition."""


class Vllm:
    """A model in this process, on as many GPUs as its settings say."""

    def __init__(self, model: str, settings: VllmEngine) -> None:
        from transformers import AutoTokenizer
        from vllm import LLM

        self.tokenizer: Any = AutoTokenizer.from_pretrained(model)
        self._ends = configured_ends(model, self.tokenizer)
        self._llm = LLM(**engine_arguments(model, settings))

    def generate(self, calls: Sequence[Call], sampling: Sampling) -> Iterator[Generated]:
        """Answer every call once; see `LocalEngine`."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        ordered = by_length(calls)
        outputs = self._llm.generate(
            [{"prompt_token_ids": call.tokens, "prompt": call.text} for call in ordered],
            [
                SamplingParams(
                    **sampling_arguments(sampling, call.seed, self._ends), output_kind=RequestOutputKind.FINAL_ONLY
                )
                for call in ordered
            ],
            use_tqdm=False,
        )
        for call, output in zip(ordered, outputs, strict=True):
            if list(output.prompt_token_ids) != call.tokens:
                raise EngineError(f"{call.key}: vLLM answered another prompt than it was asked")
            (made,) = output.outputs
            yield read(self.tokenizer, call, list(made.token_ids), made.finish_reason, self._ends)

    def close(self) -> None:
        """Let the model go."""
        del self._llm


def engine_arguments(model: str, settings: VllmEngine) -> dict[str, Any]:
    """Return the keyword arguments of `vllm.LLM`."""
    return {
        "model": model,
        "tokenizer": model,
        "trust_remote_code": False,
        "dtype": settings.dtype,
        "quantization": settings.quantization,
        "tensor_parallel_size": settings.tensor_parallel,
        "gpu_memory_utilization": settings.gpu_memory,
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        "enforce_eager": settings.enforce_eager,
        # Sampling comes from the study alone, never from a model's generation_config.json.
        "generation_config": "vllm",
        "seed": 0,
    }


def sampling_arguments(sampling: Sampling, seed: int, ends: Sequence[int]) -> dict[str, Any]:
    """Return every field of `vllm.SamplingParams` that decides what is written (`max_tokens` would be 16)."""
    return {
        "n": 1,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": 0.0,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "max_tokens": sampling.max_new_tokens,
        "min_tokens": 0,
        "seed": seed,
        "stop": None,
        "stop_token_ids": list(ends),
        "ignore_eos": False,
        "include_stop_str_in_output": False,
        "bad_words": None,
        "logit_bias": None,
        "allowed_token_ids": None,
        "structured_outputs": None,
        "thinking_token_budget": None,
        "repetition_detection": None,
        "logprobs": None,
        "prompt_logprobs": None,
        # Tokens are decoded here, in the same way for every engine.
        "detokenize": False,
        "skip_special_tokens": True,
        "spaces_between_special_tokens": True,
    }


def configured_ends(model: str, tokenizer: Any) -> list[int]:
    """Return the tokens that end a text, from the checkpoint's own files."""
    from transformers import GenerationConfig

    try:
        found = GenerationConfig.from_pretrained(model).eos_token_id
    except OSError:  # a checkpoint without generation_config.json
        found = None
    ends = set(found) if isinstance(found, list) else {found}
    return sorted((ends | {tokenizer.eos_token_id}) - {None})


def read(tokenizer: Any, call: Call, tokens: list[int], finish_reason: str | None, ends: Sequence[int]) -> Generated:
    """Return a record from what vLLM wrote.

    Raises:
        EngineError: If the row was not finished by the model or the token cap.
    """
    if finish_reason not in FINISHED:
        raise EngineError(f"{call.key}: vLLM gave the row up ({finish_reason}); run again, finished chunks are kept")
    body = tokens[:-1] if finish_reason == "stop" and tokens and tokens[-1] in ends else tokens
    return generated(tokenizer, call, body, finish_reason, len(tokens))
