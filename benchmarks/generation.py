"""Tokens a second of the `transformers` engine against `generate` of the library, batch by batch as prompts come.

The model is a real Qwen2 with planted lengths: its layers are computed and add nothing, so that a prompt's last token
decides how long its text is, and both ways write the same tokens, which is checked. Lengths are spread as those of
benchmark answers are: log-normal, most a small part of the cap.

    python -m benchmarks.generation [--rows 96] [--slots 32] [--cap 384]
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from tracepipe.engines.generation import Call
from tracepipe.engines.settings import Sampling
from tracepipe.engines.transformers import write

SPREAD, MEDIAN_SHARE = 1.0, 1 / 16
"""Standard deviation of the lengths' logarithm, and the median as a share of the cap."""

END, PAD, FIRST = 0, 1, 2


class Numbers:
    """A tokenizer whose text is the tokens' numbers."""

    eos_token_id = END
    pad_token_id = PAD

    def decode(self, tokens: list[int], **_: Any) -> str:
        """Return the numbers, apart."""
        return " ".join(map(str, tokens))


def planted(cap: int, hidden: int, layers: int) -> Any:
    """Return a model in which token FIRST + n is followed by FIRST + n - 1, down to the end token."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=FIRST + cap + 1,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=4 * cap,
        tie_word_embeddings=False,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embedded = torch.nn.functional.normalize(torch.randn(config.vocab_size, hidden), dim=-1)
        model.model.embed_tokens.weight.copy_(embedded)
        model.lm_head.weight.zero_()
        model.lm_head.weight[END] = embedded[FIRST]
        model.lm_head.weight[FIRST:-1] = embedded[FIRST + 1 :]
    return model


def workload(rows: int, cap: int, seed: int) -> list[Call]:
    """Return prompts of 8 to 64 tokens, each with the length of its text planted in its last token."""
    drawn = random.Random(seed)
    calls = []
    for number in range(rows):
        length = min(cap - 1, max(1, round(drawn.lognormvariate(0, SPREAD) * cap * MEDIAN_SHARE)))
        filler = [drawn.randrange(FIRST, FIRST + cap) for _ in range(drawn.randint(7, 63))]
        # The first token written is one less than the prompt's last.
        calls.append(Call(f"r_{number:x}", "", [*filler, FIRST + length]))
    return calls


def naive(model: Any, calls: list[Call], sampling: Sampling, slots: int) -> dict[str, str]:
    """Write batch after batch, each until its longest text ends."""
    written = {}
    for start in range(0, len(calls), slots):
        batch = calls[start : start + slots]
        width = max(len(call.tokens) for call in batch)
        tokens = torch.tensor([[PAD] * (width - len(call.tokens)) + call.tokens for call in batch])
        mask = torch.tensor([[0] * (width - len(call.tokens)) + [1] * len(call.tokens) for call in batch])
        tokens, mask = tokens.to(model.device), mask.to(model.device)
        made = model.generate(
            tokens, attention_mask=mask, max_new_tokens=sampling.max_new_tokens, do_sample=False, pad_token_id=PAD
        )
        for call, row in zip(batch, made[:, width:].tolist(), strict=True):
            body = row[: row.index(END)] if END in row else row
            written[call.key] = Numbers().decode(body)
    return written


def continuous(model: Any, calls: list[Call], sampling: Sampling, slots: int) -> dict[str, str]:
    """Write with the engine."""
    return {one.key: one.text for one in write(model, Numbers(), calls, sampling, slots)}


def timed(way: Callable[..., dict[str, str]], *arguments: Any) -> tuple[float, dict[str, str]]:
    """Run a way once; returns seconds and its texts."""
    started = time.perf_counter()
    with torch.inference_mode():
        written = way(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, written


def main() -> None:
    """Measure both, alternating, and print the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--cap", type=int, default=384)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's own number")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    model = planted(asked.cap, asked.hidden, asked.layers).to("cuda" if torch.cuda.is_available() else "cpu")
    calls = workload(asked.rows, asked.cap, seed=0)
    sampling = Sampling(temperature=0, top_p=1, repetition_penalty=1, max_new_tokens=asked.cap)
    timed(continuous, model, calls[:4], sampling, 4)
    seconds: dict[str, list[float]] = {"naive": [], "engine": []}
    for _ in range(asked.repeats):
        for name, way in (("naive", naive), ("engine", continuous)):
            took, written = timed(way, model, calls, sampling, asked.slots)
            seconds[name].append(took)
            lengths = {key: len(text.split()) for key, text in written.items()}
            if lengths != {call.key: call.tokens[-1] - FIRST for call in calls}:
                raise SystemExit(f"{name} did not write the planted texts")
    tokens = sum(call.tokens[-1] - FIRST for call in calls)
    best = {name: sorted(times)[len(times) // 2] for name, times in seconds.items()}
    ratio = best["naive"] / best["engine"]
    print(f"device {model.device.type}, {torch.get_num_threads()} threads; {asked.rows} rows, {asked.slots} at once,")
    print(f"cap {asked.cap}, {tokens} tokens: mean {tokens / asked.rows:.0f} a row")
    for name, took in best.items():
        print(f"{name:7} {took:7.2f} s {tokens / took:9.0f} tokens/s")
    print(f"engine / naive = {ratio:.2f}")
    figures = {f"{name}_tokens_per_second": round(tokens / took, 1) for name, took in best.items()}
    print(json.dumps({"ratio": round(ratio, 2), "device": model.device.type, **figures}))


if __name__ == "__main__":
    main()
