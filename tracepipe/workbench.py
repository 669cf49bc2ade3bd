"""What a stage needs to run models: compute, a place for step files, and the checkpoints."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tracepipe.checkpoints import Checkpoints, Manifest
from tracepipe.compute import Compute
from tracepipe.gates import Gate, none_fail
from tracepipe.identity import digest, frame_hash, request_key, weights_id
from tracepipe.store import write_parquet
from tracepipe.study import Recipe, Sampling
from tracepipe.training.render import RENDER_GATES
from tracepipe.training.sft import VERSION as TRAINING_VERSION
from tracepipe.worker import GenerateSpec, RenderSpec, TrainSpec

_RENDERING_VERSION = "1"
_GENERATION_VERSION = "1"


@dataclass(frozen=True)
class GenerationJob:
    """Prompts for one model: `requests` has `id` and `prompt`."""

    label: str
    model: str
    requests: pl.DataFrame
    sampling: Sampling
    seed: int


@dataclass(frozen=True)
class TrainingJob:
    """Examples (table EXAMPLES) for one fine-tuned copy of `base`."""

    label: str
    role: str
    base: str
    examples: pl.DataFrame
    recipe: Recipe
    seed: int


@dataclass(frozen=True)
class Workbench:
    """Runs models for a stage. Step files are named by content, so finished steps are not redone.

    They lie in the partition's folder `work`, so that all that comes from a target can be removed; what another
    partition has already made is linked into it.
    """

    compute: Compute
    work: Path
    checkpoints: Checkpoints

    def generate(self, jobs: Sequence[GenerationJob]) -> list[pl.DataFrame]:
        """Answer every job's prompts once.

        Returns:
            Per job: `id, request_key, text, finish_reason, input_tokens, output_tokens`, in the order asked.
        """
        specs = [self._generation(job) for job in jobs]
        self.compute.run([spec for spec in specs if not self._there(Path(spec.output))])
        return [self._generated(job, spec) for job, spec in zip(jobs, specs, strict=True)]

    def _generation(self, job: GenerationJob) -> GenerateSpec:
        requests = self._shelve(job.requests.select("id", "prompt"))
        sampling = job.sampling.model_dump()
        identity = digest([weights_id(job.model), requests.stem, sampling, job.seed, _GENERATION_VERSION])
        return GenerateSpec(
            label=job.label,
            model=job.model,
            requests=str(requests),
            sampling=job.sampling,
            seed=job.seed,
            output=str(self.work / "generated" / f"{identity}.parquet"),
        )

    def _generated(self, job: GenerationJob, spec: GenerateSpec) -> pl.DataFrame:
        answers = pl.read_parquet(spec.output)
        keyed = job.requests.select("id", request_key=_request_keys(job))
        joined = keyed.join(answers, on="id", how="inner", validate="1:1", maintain_order="left")
        if joined.height != job.requests.height:
            raise RuntimeError(
                f"{job.label}: {spec.output} does not hold the ids that were asked; remove it and run again"
            )
        return joined

    def train(self, jobs: Sequence[TrainingJob]) -> list[Manifest]:
        """Fine-tune every job's model, unless its checkpoint exists."""
        specs = [self._training(job) for job in jobs]
        self.compute.run([spec for spec in specs if self.checkpoints.find(spec.checkpoint_id) is None])
        return [self.checkpoints.manifest(spec.checkpoint_id) for spec in specs]

    def _training(self, job: TrainingJob) -> TrainSpec:
        examples = job.examples.select("example_id", "prompt", "trace", "completion")
        return TrainSpec(
            label=job.label,
            role=job.role,
            base=job.base,
            base_weights=weights_id(job.base),
            examples=str(self._shelve(examples)),
            dataset_hash=frame_hash(examples),
            recipe=job.recipe,
            seed=job.seed,
            code_version=TRAINING_VERSION,
            checkpoints=str(self.checkpoints.root),
        )

    def render_gates(self, base: str, examples: pl.DataFrame, max_length: int) -> list[Gate]:
        """Render every example (table EXAMPLES) with the model's template and check what the loss would see."""
        shelved = self._shelve(examples.select("example_id", "prompt", "trace", "completion"))
        identity = digest([weights_id(base), shelved.stem, max_length, _RENDERING_VERSION])
        output = self.work / "rendered" / f"{identity}.json"
        if not self._there(output):
            spec = RenderSpec(
                label="render", base=base, examples=str(shelved), max_length=max_length, output=str(output)
            )
            self.compute.run([spec])
        faulty = json.loads(output.read_text(encoding="utf-8"))
        return [none_fail(gate, faulty[gate], f"{what}, of {examples.height}") for gate, what in RENDER_GATES.items()]

    def _shelve(self, frame: pl.DataFrame) -> Path:
        """Write a frame under its content hash, for a worker to read."""
        path = self.work / "frames" / f"{frame_hash(frame)}.parquet"
        if not self._there(path):
            write_parquet(frame, path)
        return path

    def _there(self, path: Path) -> bool:
        """Whether a step file is there, be it from another partition."""
        if not path.exists():
            others = self.work.parent.glob(f"*/{path.relative_to(self.work)}")
            for other in others:
                path.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    path.hardlink_to(other)
                break
        return path.exists()


def _request_keys(job: GenerationJob) -> pl.Series:
    model = weights_id(job.model)
    options = {**job.sampling.model_dump(), "seed": job.seed}
    keys = [
        request_key(endpoint="transformers", base_url="", model=model, body={"prompt": prompt, **options})
        for prompt in job.requests["prompt"]
    ]
    return pl.Series("request_key", keys, dtype=pl.String)
