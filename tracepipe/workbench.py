"""What a stage needs to run models: compute, a place for step files, and the checkpoints."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tracepipe.checkpoints import Checkpoints, Manifest
from tracepipe.compute import Compute
from tracepipe.engines.generation import GENERATED, Asking
from tracepipe.files import write_parquet
from tracepipe.gates import Gate, none_fail
from tracepipe.identity import digest, frame_hash, weights_id
from tracepipe.journal import Journal, Sink
from tracepipe.mirror import Mirror
from tracepipe.roles import Exposure
from tracepipe.steps import GenerateSpec, LikelihoodSpec, RenderSpec, TemplatedRole, TemplateSpec, TrainSpec
from tracepipe.training.recipe import Recipe
from tracepipe.training.render import RENDER_GATES
from tracepipe.training.sft import VERSION as TRAINING_VERSION

_RENDERING_VERSION = "2"
_GENERATION_VERSION = "2"
_LIKELIHOOD_VERSION = "1"


@dataclass(frozen=True)
class GenerationJob:
    """Prompts for one model: `requests` has `id` and `prompt`."""

    label: str
    model: str
    requests: pl.DataFrame
    asking: Asking
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
    thinking: bool | None = None


@dataclass(frozen=True)
class LikelihoodJob:
    """Texts to hold against one model: `rows` has `id`, `prompt` and `completion`."""

    label: str
    model: str
    rows: pl.DataFrame
    thinking: bool | None


@dataclass(frozen=True)
class Workbench:
    """Runs models for a stage. Step files are named by content, so finished steps are not redone.

    They lie in the partition's folder `work`, so that all that comes from a target can be removed; what another
    partition has already made is linked into it.
    """

    compute: Compute
    work: Path
    checkpoints: Checkpoints
    mirror: Mirror | None = None

    def generate(self, jobs: Sequence[GenerationJob]) -> list[pl.DataFrame]:
        """Answer every job's prompts once.

        Returns:
            Per job: GENERATED without `prompt_text`, in the order asked.
        """
        generations = [self._generation(job) for job in jobs]
        self.compute.run([spec for one in generations if not self._there(one.output) for spec in one.specs])
        return [self._generated(job, one) for job, one in zip(jobs, generations, strict=True)]

    def _generation(self, job: GenerationJob) -> "_Generation":
        engine = job.asking.engine
        keyed = _keyed(job)
        # Chunks are cut from the prompts in order of length, for throughput, and hold the same rows in every run.
        ordered = keyed.sort(pl.col("prompt").str.len_bytes(), "prompt", "id")
        requests = ordered.with_columns(chunk=pl.int_range(pl.len(), dtype=pl.Int64) // engine.chunk_rows)
        shelved = self._shelve(requests)
        identity = digest([shelved.stem, _GENERATION_VERSION])
        output = self.work / "generated" / f"{identity}.parquet"
        parts = output.with_suffix(".parts")
        chunks = [chunk for chunk in requests["chunk"].unique().sort() if not (parts / f"{chunk}.parquet").exists()]
        specs = [
            GenerateSpec(
                label=job.label if engine.replicas == 1 else f"{job.label} ({replica + 1} of {engine.replicas})",
                model=job.model,
                engine=engine,
                sampling=job.asking.sampling,
                thinking=job.asking.thinking,
                requests=str(shelved),
                chunks=tuple(chunks[replica :: engine.replicas]),
                parts=str(parts),
            )
            for replica in range(min(engine.replicas, len(chunks)))
        ]
        return _Generation(keyed, output, parts, specs)

    def _generated(self, job: GenerationJob, one: "_Generation") -> pl.DataFrame:
        if not one.output.exists():
            parts = [pl.read_parquet(part) for part in sorted(one.parts.glob("*.parquet"))]
            write_parquet(pl.concat([pl.DataFrame(schema=GENERATED), *parts]), one.output)
        shutil.rmtree(one.parts, ignore_errors=True)
        answers = pl.read_parquet(one.output)
        joined = one.keyed.select("id", "request_key").join(
            answers.drop("prompt_text"),
            on=["id", "request_key"],
            how="inner",
            validate="1:1",
            maintain_order="left",
        )
        if joined.height != one.keyed.height:
            raise RuntimeError(
                f"{job.label}: {one.output} does not hold the ids that were asked; remove it and run again"
            )
        return joined

    def likelihoods(self, jobs: Sequence[LikelihoodJob]) -> list[pl.DataFrame]:
        """Measure how likely every job's model finds its completions.

        Returns:
            Per job: LIKELIHOODS, in the order asked.
        """
        specs = [self._likelihood(job) for job in jobs]
        self.compute.run([spec for spec in specs if not self._there(Path(spec.output))])
        return [
            job.rows.select("id").join(pl.read_parquet(spec.output), on="id", validate="1:1", maintain_order="left")
            for job, spec in zip(jobs, specs, strict=True)
        ]

    def _likelihood(self, job: LikelihoodJob) -> LikelihoodSpec:
        shelved = self._shelve(job.rows)
        identity = digest([weights_id(job.model), shelved.stem, job.thinking, _LIKELIHOOD_VERSION])
        return LikelihoodSpec(
            label=job.label,
            model=job.model,
            rows=str(shelved),
            thinking=job.thinking,
            output=str(self.work / "likelihoods" / f"{identity}.parquet"),
        )

    def train(self, jobs: Sequence[TrainingJob]) -> list[Manifest]:
        """Fine-tune every job's model, unless its checkpoint exists."""
        specs = [self._training(job) for job in jobs]
        self.compute.run([spec for spec in specs if self.checkpoints.find(spec.checkpoint_id) is None])
        for spec in specs:
            self.checkpoints.share(spec.checkpoint_id)
        return [self.checkpoints.manifest(spec.checkpoint_id) for spec in specs]

    def _training(self, job: TrainingJob) -> TrainSpec:
        # Only what is learnt, so that conditions whose rows turn out the same share a checkpoint.
        examples = job.examples.select("prompt", "completion", "phase")
        return TrainSpec(
            label=job.label,
            role=job.role,
            base=job.base,
            base_weights=weights_id(job.base),
            examples=str(self._shelve(examples)),
            dataset_hash=frame_hash(examples),
            recipe=job.recipe,
            seed=job.seed,
            thinking=job.thinking,
            code_version=TRAINING_VERSION,
            checkpoints=str(self.checkpoints.root),
            training=self.compute.training,
        )

    @contextlib.contextmanager
    def summariser(self, exposure: Exposure) -> Iterator[tuple[Journal, Sink]]:
        """Keep what a summariser behind an address answers, and its own traces; on S3 too where the home lies there."""
        responses = self.work / "summarisers" / f"{exposure}.jsonl"
        traces = responses.with_suffix(".traces.jsonl")
        with self.mirror.following([responses, traces]) if self.mirror else contextlib.nullcontext():
            yield Journal(responses), Sink(Journal(traces))

    def render_gates(
        self, base: str, examples: pl.DataFrame, max_length: int, thinking: bool | None = None
    ) -> list[Gate]:
        """Render every example (table EXAMPLES) with the model's template and check what the loss would see."""
        shelved = self._shelve(examples.select("example_id", "prompt", "trace", "completion"))
        identity = digest([weights_id(base), shelved.stem, max_length, thinking, _RENDERING_VERSION])
        output = self.work / "rendered" / f"{identity}.json"
        if not self._there(output):
            spec = RenderSpec(
                label="render",
                base=base,
                examples=str(shelved),
                max_length=max_length,
                thinking=thinking,
                output=str(output),
            )
            self.compute.run([spec])
        faulty = json.loads(output.read_text(encoding="utf-8"))
        return [none_fail(gate, faulty[gate], f"{what}, of {examples.height}") for gate, what in RENDER_GATES.items()]

    def templates(self, roles: Sequence[TemplatedRole], sample: str) -> list[dict[str, Any]]:
        """Look at every role's chat template; see `tracepipe.templates.describe`."""
        looked_at = [one.model_dump(mode="json") | {"model": weights_id(one.model)} for one in roles]
        output = self.work / "templates" / f"{digest([looked_at, sample, _RENDERING_VERSION])}.json"
        if not self._there(output):
            self.compute.run(
                [TemplateSpec(label="chat templates", roles=tuple(roles), sample=sample, output=str(output))]
            )
        found: list[dict[str, Any]] = json.loads(output.read_text(encoding="utf-8"))
        return found

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


@dataclass(frozen=True)
class _Generation:
    """A job's rows by key, the files of its parts and of the whole, and the steps that make them."""

    keyed: pl.DataFrame
    output: Path
    parts: Path
    specs: list[GenerateSpec]


def _keyed(job: GenerationJob) -> pl.DataFrame:
    weights = weights_id(job.model)
    keys = [job.asking.key(weights, prompt, job.seed) for prompt in job.requests["prompt"]]
    return job.requests.select("id", pl.Series("request_key", keys, dtype=pl.String), "prompt")
