"""Training throughput of a Qwen2 model: packed against padded, in the same run, by the project's own trainer.

Padded is measured twice: as examples come, which is what a trainer does by default, and with examples of similar length
together, which is what the project does where it does not pack.

Rows have the length mix of reasoning traces (log-normal, cut at the context). MFU counts 6 operations per parameter and
token and the attention that causal masks leave, over the tokens that are no padding. On a CPU the same program runs at
a tiny size and prints ratios alone. The engine's ratio over naive batches comes from `benchmarks.generation`, on the
same device.

    python -m benchmarks.gpu.train [--size 1.5b] [--length 8192] [--steps 8]
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, TrainerCallback

from benchmarks import generation
from tracepipe.engines.settings import Sampling
from tracepipe.home import CHECKOUT
from tracepipe.placement import GPUS
from tracepipe.training.plan import Plan, plan
from tracepipe.training.recipe import Recipe
from tracepipe.training.render import Rendered
from tracepipe.training.sft import Run, build_trainer

_TOKENIZER = CHECKOUT / "tracepipe" / "miniature" / "models" / "base"
_WARM_STEPS = 2


@dataclass(frozen=True)
class Size:
    """A Qwen2 architecture."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    intermediate: int
    vocabulary: int


SIZES = {
    "tiny": Size(128, 2, 4, 2, 512, 1_000),
    "0.5b": Size(896, 24, 14, 2, 4_864, 151_936),
    "1.5b": Size(1_536, 28, 12, 2, 8_960, 151_936),
}


def checkpoint(size: Size, length: int, folder: Path) -> Path:
    """Write a random-weight checkpoint."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        max_position_embeddings=length,
        tie_word_embeddings=True,
    )
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(_TOKENIZER).save_pretrained(folder)
    return folder


def rows(count: int, length: int, vocabulary: int) -> list[Rendered]:
    """Return rows of random tokens, a quarter of the context long in the median."""
    drawn = random.Random(0)
    lengths = [min(length, max(16, round(drawn.lognormvariate(0, 0.9) * length / 4))) for _ in range(count)]
    made = [[drawn.randrange(10, vocabulary) for _ in range(size)] for size in lengths]
    return [Rendered(tokens, tokens) for tokens in made]


class Clock(TrainerCallback):  # type: ignore[misc]
    """Times steps, without the first ones."""

    def __init__(self) -> None:
        self.started = self.ended = 0.0

    def on_step_end(self, _: Any, state: Any, __: Any, **___: Any) -> None:
        """Note the time when the device has done the step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ended = time.perf_counter()
        if state.global_step == _WARM_STEPS:
            self.started = self.ended


def tokens_of(planned: Plan, learnt: Sequence[Rendered]) -> int:
    """Return the tokens of the timed steps, padding left out."""
    timed = planned.forwards[_WARM_STEPS * planned.forwards_per_step :]
    return sum(len(learnt[index].input_ids) for forward in timed for index in forward)


def as_they_come(count: int, recipe: Recipe) -> Plan:
    """Return the plan of a trainer that pads whatever the shuffled examples bring together."""
    order = random.Random(0).sample(range(count), count)
    size = recipe.micro_batch_size
    forwards = [order[start : start + size] for start in range(0, count, size)]
    return Plan(forwards, recipe.batch_size // size, 1)


def throughput(base: Path, recipe: Recipe, learnt: Sequence[Rendered], planned: Plan) -> float:
    """Train and return tokens a second."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(Path(scratch), Path(scratch))
        trainer = build_trainer(str(base), AutoTokenizer.from_pretrained(base), recipe, 0, planned, learnt, [], run)
        trainer.args.save_strategy = "no"
        trainer.add_callback(clock)
        trainer.train()
    return tokens_of(planned, learnt) / (clock.ended - clock.started)


def operations(size: Size, learnt: Sequence[Rendered]) -> float:
    """Return operations per token, forward and backward: 6 per parameter, and causal attention."""
    body = size.layers * (
        2 * size.hidden * size.hidden
        + 2 * size.hidden * size.hidden * size.key_value_heads // size.heads
        + 3 * size.hidden * size.intermediate
    )
    lengths = [len(row.input_ids) for row in learnt]
    mean_context = sum(length * length for length in lengths) / sum(lengths) / 2
    return 6 * (body + size.vocabulary * size.hidden) + 12 * size.layers * size.hidden * mean_context


def peak() -> float | None:
    """Return this GPU's dense bfloat16 operations per second, where it is known."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name().lower().replace(" ", "")
    return next((gpu.teraflops * 1e12 for known, gpu in GPUS.items() if known in name), None)


def written(slots: int) -> float:
    """Return how many times faster the engine writes than naive batches, on this device."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = generation.planted(512, 256, 4).to(device)
    calls = generation.workload(4 * slots, 512, seed=0)
    sampling = Sampling(temperature=0, top_p=1, repetition_penalty=1, max_new_tokens=512)
    naive, _ = generation.timed(generation.naive, model, calls, sampling, slots)
    engine, _ = generation.timed(generation.continuous, model, calls, sampling, slots)
    return naive / engine


def main() -> None:
    """Measure and print."""
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="1.5b" if gpu else "tiny")
    parser.add_argument("--length", type=int, default=8192 if gpu else 512)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16, help="examples a step")
    parser.add_argument("--micro-batch", type=int, default=4, help="examples a padded forward pass")
    parser.add_argument("--attention", help="as transformers names it, such as flash_attention_2")
    asked = parser.parse_args()
    size = SIZES[asked.size]
    learnt = rows(asked.batch * (asked.steps + _WARM_STEPS), asked.length, size.vocabulary)
    recipe = Recipe(
        max_steps=asked.steps + _WARM_STEPS,
        batch_size=asked.batch,
        micro_batch_size=asked.micro_batch,
        max_length=asked.length,
        bf16=gpu,
        weights="bfloat16" if gpu else "float32",
        gradient_checkpointing=gpu,
        attention=asked.attention,
    )
    with tempfile.TemporaryDirectory() as folder:
        base = checkpoint(size, asked.length, Path(folder))
        lengths, packing = [len(row.input_ids) for row in learnt], recipe.model_copy(update={"packing": True})
        packed = throughput(base, packing, learnt, plan(lengths, packing, 0, 1))
        grouped = throughput(base, recipe, learnt, plan(lengths, recipe, 0, 1))
        padded = throughput(base, recipe, learnt, as_they_come(len(learnt), recipe))
    figures = {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "packed_tokens_per_second": round(packed, 1),
        "padded_tokens_per_second": round(padded, 1),
        "grouped_tokens_per_second": round(grouped, 1),
        "packed_over_padded": round(packed / padded, 2),
        "grouped_over_padded": round(grouped / padded, 2),
        "engine_over_naive": round(written(32), 2),
    }
    most = peak()
    if most is not None:
        figures["mfu"] = round(packed * operations(size, learnt) / most, 3)
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):26} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
