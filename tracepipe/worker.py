"""Run one model step from its specification: in this process, or as `python -m tracepipe.worker SPEC.json`."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import Field, TypeAdapter

from tracepipe.checkpoints import Checkpoints, Manifest, checkpoint_id
from tracepipe.engines.transformers import generate
from tracepipe.identity import digest, weights_id
from tracepipe.spec import Spec
from tracepipe.store import write_atomically, write_parquet
from tracepipe.study import Recipe, Sampling


class GenerateSpec(Spec):
    """Answer the `prompt` column of a Parquet file; writes `id` and the fields of `Generated`."""

    kind: Literal["generate"] = "generate"
    label: str
    model: str
    requests: str
    sampling: Sampling
    seed: int
    output: str


class TrainSpec(Spec):
    """Fine-tune on the `prompt` and `completion` columns of a Parquet file into a checkpoint folder."""

    kind: Literal["train"] = "train"
    label: str
    role: str
    base: str
    base_weights: str
    examples: str
    dataset_hash: str
    recipe: Recipe
    seed: int
    code_version: str
    checkpoints: str

    @property
    def checkpoint_id(self) -> str:
        """Identity of the checkpoint this training makes."""
        return checkpoint_id(
            base_weights=self.base_weights,
            dataset_hash=self.dataset_hash,
            recipe_hash=digest(self.recipe.model_dump(mode="json")),
            seed=self.seed,
            code_version=self.code_version,
        )


class RenderSpec(Spec):
    """Render training rows as training will, and write the faulty rows as JSON: gate name to example ids."""

    kind: Literal["render"] = "render"
    label: str
    base: str
    examples: str
    max_length: int
    output: str


WorkerSpec = Annotated[GenerateSpec | TrainSpec | RenderSpec, Field(discriminator="kind")]
_SPECS: TypeAdapter[WorkerSpec] = TypeAdapter(WorkerSpec)


def run(spec: WorkerSpec) -> None:
    """Run a step; its results are the files the specification names."""
    if isinstance(spec, GenerateSpec):
        _generate(spec)
    elif isinstance(spec, TrainSpec):
        _train(spec)
    else:
        _render(spec)


def _generate(spec: GenerateSpec) -> None:
    requests = pl.read_parquet(spec.requests)
    generated = generate(spec.model, requests["prompt"].to_list(), spec.sampling, spec.seed, spec.label)
    schema = {"text": pl.String, "finish_reason": pl.String, "input_tokens": pl.Int64, "output_tokens": pl.Int64}
    answers = pl.DataFrame([asdict(one) for one in generated], schema=schema)
    write_parquet(requests.select("id").hstack(answers), Path(spec.output))


def _train(spec: TrainSpec) -> None:
    from tracepipe.training.sft import fine_tune

    examples = pl.read_parquet(spec.examples)
    pairs = list(zip(examples["prompt"], examples["completion"], strict=True))

    def build(folder: Path) -> Manifest:
        started = time.monotonic()
        losses = fine_tune(spec.base, pairs, spec.recipe, spec.seed, folder, spec.label)
        seconds = time.monotonic() - started
        greedy = Sampling(temperature=0, max_new_tokens=16, batch_size=1)
        sample = generate(str(folder), [pairs[0][0]], greedy, 0, f"{spec.label}: first words")
        return Manifest(
            checkpoint_id=spec.checkpoint_id,
            role=spec.role,
            base_weights=spec.base_weights,
            dataset_hash=spec.dataset_hash,
            recipe_hash=digest(spec.recipe.model_dump(mode="json")),
            seed=spec.seed,
            weights=weights_id(str(folder)),
            examples=len(pairs),
            losses=losses,
            sample=sample[0].text,
            seconds=seconds,
        )

    Checkpoints(Path(spec.checkpoints)).create(spec.checkpoint_id, build)


def _render(spec: RenderSpec) -> None:
    from transformers import AutoTokenizer

    from tracepipe.training.render import RENDER_GATES, faults, render

    tokenizer = AutoTokenizer.from_pretrained(spec.base)
    faulty: dict[str, list[str]] = {name: [] for name in RENDER_GATES}
    for example in pl.read_parquet(spec.examples).iter_rows(named=True):
        prompt, completion = example["prompt"], example["completion"]
        row = render(tokenizer, prompt, completion)
        for name in faults(tokenizer, row, prompt, completion, example["trace"], spec.max_length):
            faulty[name].append(example["example_id"])
    write_atomically(Path(spec.output), json.dumps(faulty).encode())


if __name__ == "__main__":
    run(_SPECS.validate_json(Path(sys.argv[1]).read_bytes()))
