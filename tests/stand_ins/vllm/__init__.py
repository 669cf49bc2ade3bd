"""Stands for vLLM's offline engine: the names it takes are those read from vLLM's sources; texts come from PyTorch."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tracepipe.engines.generation import Call
from tracepipe.engines.settings import Sampling, TransformersEngine
from tracepipe.engines.transformers import Transformers, end_tokens, write

SIGNATURES = json.loads((Path(__file__).parents[2] / "data" / "vllm-0.30.0.json").read_text())


def expect(given: dict[str, Any], *taken: str) -> None:
    """Refuse what vLLM does not take."""
    unknown = set(given) - {name for one in taken for name in SIGNATURES[one]}
    if unknown:
        raise TypeError(f"unexpected arguments: {sorted(unknown)}")


class SamplingParams(SimpleNamespace):
    """Keeps what it is given."""

    def __init__(self, **given: Any) -> None:
        expect(given, "SamplingParams")
        super().__init__(**given)


def written(engine: Transformers, tokens: list[int], params: Any) -> tuple[list[int], str]:
    """What the model writes for one prompt, with the token that ended it."""
    sampling = Sampling(
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        repetition_penalty=params.repetition_penalty,
        max_new_tokens=params.max_tokens,
    )
    kept: list[int] = []

    class Keeping:
        eos_token_id = engine.tokenizer.eos_token_id
        pad_token_id = engine.tokenizer.pad_token_id

        def decode(self, body: list[int], **_: Any) -> str:
            kept.extend(body)
            return ""

    (one,) = write(engine._model, Keeping(), [Call(f"r_{params.seed:x}", "", tokens)], sampling, 1)
    ended = [min(end_tokens(engine._model, engine.tokenizer))] if one.finish_reason == "stop" else []
    return kept + ended, one.finish_reason


class LLM:
    """Runs the model of a folder."""

    def __init__(self, **given: Any) -> None:
        expect(given, "LLM.__init__", "EngineArgs")
        assert given["trust_remote_code"] is False
        self._engine = Transformers(given["model"], TransformersEngine())

    def generate(self, prompts: list[dict[str, Any]], sampling_params: list[Any], **given: Any) -> list[Any]:
        """Answer prompts in order, as vLLM does."""
        expect(given, "LLM.generate")
        outputs = []
        for prompt, params in zip(prompts, sampling_params, strict=True):
            expect(prompt, "TokensPrompt")
            tokens, reason = written(self._engine, prompt["prompt_token_ids"], params)
            made = SimpleNamespace(token_ids=tuple(tokens), finish_reason=reason, text="")
            outputs.append(SimpleNamespace(prompt_token_ids=prompt["prompt_token_ids"], outputs=[made]))
        return outputs
