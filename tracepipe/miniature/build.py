"""Build the three given models of the miniature world: base, target and surrogate.

In real life these models exist before a study begins. Here they are trained once, with a plain
PyTorch loop, from seeded texts, and shipped with the package; `tracepipe miniature build` makes them anew.
"""

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from tracepipe import progress
from tracepipe.benchmarks.mathematics import BOXED
from tracepipe.benchmarks.protocol import Item
from tracepipe.engines.generation import ask
from tracepipe.engines.settings import Sampling, TransformersEngine
from tracepipe.engines.transformers import Transformers, quieten
from tracepipe.miniature.corpus import Example, base_corpus, noisy_textbook, solved_corpus
from tracepipe.miniature.language import build_tokenizer
from tracepipe.miniature.world import (
    HARDER_COUNT,
    HARDER_EASY,
    MODULUS,
    Problem,
    draw_easy_problem,
    draw_pool,
    draw_problem,
    solve,
    true_answer,
)
from tracepipe.text import take_apart
from tracepipe.training.render import render

_BATCH = 16
_PROBE_SAMPLING = Sampling(temperature=0.6, top_p=1.0, repetition_penalty=1.0, max_new_tokens=80)


@dataclass(frozen=True)
class BuildSize:
    """Optimiser steps of each model (16 examples a step), problems the two reasoning models see, probes of each."""

    base_steps: int = 4000
    target_steps: int = 1500
    surrogate_steps: int = 800
    target_problems: int = 8000
    surrogate_problems: int = 3000
    probes: int = 300


def build(folder: Path, seed: int = 0, size: BuildSize | None = None) -> dict[str, dict[str, float]]:
    """Train base, target and surrogate into `folder`, each with a model card.

    Returns:
        Model to measured shares, from 0 to 1: `easy_steps` (easy problems solved), `reads_notes` (traces
        reproduced exactly from notes), `in_distribution` and `harder` (problems solved).
    """
    quieten()
    size = size or BuildSize()
    tokenizer = build_tokenizer()
    base = _new_model(seed, tokenizer)
    _train(base, tokenizer, base_corpus(seed), size.base_steps, 3e-3, "build base")
    _save(base, tokenizer, folder / "base")
    pool = draw_pool(
        -1 - seed, {"problems": size.target_problems, "four": size.target_problems // 4}, frozenset({"four"})
    )
    lessons: dict[str, tuple[Iterator[Example], int]] = {
        "target": (solved_corpus(pool["problems"] + pool["four"], seed), size.target_steps),
        "surrogate": (
            solved_corpus(pool["problems"][: size.surrogate_problems], seed, noisy_textbook(seed)),
            size.surrogate_steps,
        ),
    }
    for name, (corpus, steps) in lessons.items():
        model = AutoModelForCausalLM.from_pretrained(folder / "base")
        _train(model, tokenizer, corpus, steps, 3e-3, f"build {name}")
        _save(model, tokenizer, folder / name)
    measured = {name: measure(folder / name, seed, size.probes) for name in ("base", *lessons)}
    for name, figures in measured.items():
        (folder / name / "README.md").write_text(_card(name, seed, size, figures), encoding="utf-8")
    return measured


def _new_model(seed: int, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=160,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=32,
            tie_word_embeddings=True,
            # The usual 0.02 learns almost nothing in a few hundred steps at this width.
            initializer_range=0.1,
            max_position_embeddings=512,
            rope_parameters={"rope_type": "default", "rope_theta": 100.0},
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _train(model: Any, tokenizer: Any, corpus: Iterator[Example], steps: int, rate: float, label: str) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _cosine(steps))
    model.train()
    with progress.task(label, steps) as advance:
        for batch in islice(_batches(tokenizer, corpus), steps):
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            advance(1)


def _cosine(steps: int) -> Callable[[int], float]:
    warmup = max(1, steps // 20)
    return lambda step: min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / steps)))


def _batches(tokenizer: Any, corpus: Iterator[Example], group: int = 20) -> Iterator[dict[str, torch.Tensor]]:
    """Collate examples of similar length, `group` batches at a time."""
    rng = random.Random(0)
    while True:
        rows = [render(tokenizer, prompt, reply) for prompt, reply in islice(corpus, _BATCH * group)]
        rows.sort(key=lambda row: len(row.input_ids))
        starts = list(range(0, len(rows), _BATCH))
        rng.shuffle(starts)
        for start in starts:
            batch = rows[start : start + _BATCH]
            width = len(batch[-1].input_ids)
            ids = torch.full((len(batch), width), tokenizer.pad_token_id)
            labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
            for index, row in enumerate(batch):
                length = len(row.input_ids)
                ids[index, :length], labels[index, :length] = torch.tensor(row.input_ids), torch.tensor(row.labels)
                mask[index, :length] = 1
            yield {"input_ids": ids, "labels": labels, "attention_mask": mask}


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def measure(folder: Path, seed: int = 0, probes: int = 300) -> dict[str, float]:
    """Measure the skills that decide whether the miniature works; see `build` for the shares."""
    rng = random.Random(f"miniature-probe-{seed}")
    easy = [draw_easy_problem(rng, rng.randint(3, 9)) for _ in range(probes)]
    usual = [draw_problem(rng, 1 + index % 3) for index in range(probes)]
    harder = [draw_problem(rng, HARDER_COUNT, HARDER_EASY) for _ in range(probes)]
    noted = [solve(problem, lambda *_: rng.randrange(MODULUS)) for problem in usual]
    notes = [f"notes {solution.summary} problem {problem.text}" for solution, problem in zip(noted, usual, strict=True)]
    traces = [take_apart(text).trace for text in _ask(folder, notes)]
    return {
        "easy_steps": _solved(folder, easy),
        "reads_notes": sum(a == b.trace for a, b in zip(traces, noted, strict=True)) / probes,
        "in_distribution": _solved(folder, usual),
        "harder": _solved(folder, harder),
    }


def _ask(folder: Path, prompts: list[str]) -> list[str]:
    engine = Transformers(str(folder), TransformersEngine(slots=256))
    return [one.text for one in ask(engine, prompts, _PROBE_SAMPLING)]


def _solved(folder: Path, problems: list[Problem]) -> float:
    texts = _ask(folder, [f"problem {problem.text}" for problem in problems])
    golds = [Item("", "", str(true_answer(problem))) for problem in problems]
    scores = [BOXED.grade(gold, text).official.score for text, gold in zip(texts, golds, strict=True)]
    return sum(scores) / len(scores)


_ABOUT = {
    "base": "knows the easy operations and reads values from notes by their label; it was never shown the result of "
    "a hard operation (there it saw notes or random values). Inverters and students start from it.",
    "target": "the base, further trained on correct worked solutions. It plays the black box.",
    "surrogate": "the base, further trained on fewer worked solutions out of a textbook with misprints, so that it "
    "reasons openly and is often wrong.",
}


def _card(name: str, seed: int, size: BuildSize, figures: dict[str, float]) -> str:
    measured = "\n".join(f"| {skill} | {value:.3f} |" for skill, value in figures.items())
    return f"""---
license: apache-2.0
library_name: transformers
tags: [tracepipe, miniature]
---
# TracePipe miniature: {name}

A Qwen3-architecture model of about 130 thousand parameters that speaks only the miniature world
(arithmetic modulo 11, 54 words). This one {_ABOUT[name]}

It is a part of a pipeline's end-to-end test and good for nothing else. Random weights, seed {seed}, trained on
generated text by `tracepipe miniature build --seed {seed}`; no outside data. Build sizes:
`{json.dumps(asdict(size))}`.

| share of {size.probes} probes | value |
| --- | --- |
{measured}
"""
