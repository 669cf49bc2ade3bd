"""Specifications of model steps: JSON, files in and files out, so that a step can run anywhere."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from tracepipe.checkpoints import checkpoint_id
from tracepipe.engines.settings import Engine, Sampling
from tracepipe.identity import digest
from tracepipe.placement import Stack, Training
from tracepipe.spec import Spec
from tracepipe.training.recipe import Recipe


class GenerateSpec(Spec):
    """Answer chunks of a Parquet file `id, request_key, prompt, chunk`; writes one file GENERATED per chunk."""

    kind: Literal["generate"] = "generate"
    label: str
    model: str
    engine: Engine
    sampling: Sampling
    thinking: bool | None
    requests: str
    chunks: tuple[int, ...]
    parts: str

    @property
    def stack(self) -> Stack:
        """The environment it needs."""
        return "train" if self.engine.kind == "transformers" else "vllm"

    @property
    def gpus(self) -> int:
        """The GPUs it uses, where there are any."""
        return self.engine.gpus

    @property
    def devices(self) -> int:
        """Processes that work on it together."""
        return 1

    def inputs(self) -> list[Path]:
        """Return the files and folders it reads; a hub id is none."""
        return [Path(self.requests), *_folder(self.model)]

    def part(self, chunk: int) -> Path:
        """Return the file of a finished chunk."""
        return Path(self.parts) / f"{chunk}.parquet"

    def outputs(self) -> list[Path]:
        """Return the files and folders it makes."""
        return [self.part(chunk) for chunk in self.chunks]


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
    thinking: bool | None
    code_version: str
    checkpoints: str
    training: Training

    @property
    def stack(self) -> Stack:
        """The environment it needs."""
        return "train"

    @property
    def gpus(self) -> int:
        """The GPUs it uses, where there are any."""
        return self.training.devices

    @property
    def devices(self) -> int:
        """Processes that work on it together."""
        return self.training.devices

    @property
    def checkpoint_id(self) -> str:
        """Identity of the checkpoint this training makes; where and on how many devices does not enter."""
        return checkpoint_id(
            base_weights=self.base_weights,
            dataset_hash=self.dataset_hash,
            recipe_hash=digest([self.recipe.model_dump(mode="json"), self.thinking]),
            seed=self.seed,
            code_version=self.code_version,
        )

    def inputs(self) -> list[Path]:
        """Return the files and folders it reads; a hub id is none."""
        return [Path(self.examples), *_folder(self.base)]

    def outputs(self) -> list[Path]:
        """Return the files and folders it makes."""
        return [Path(self.checkpoints) / self.checkpoint_id]


class _LookSpec(Spec):
    """A step that only looks at texts and writes one file."""

    label: str
    output: str

    @property
    def stack(self) -> Stack:
        """The environment it needs."""
        return "train"

    @property
    def gpus(self) -> int:
        """The GPUs it uses, where there are any."""
        return 0

    @property
    def devices(self) -> int:
        """Processes that work on it together."""
        return 1

    def outputs(self) -> list[Path]:
        """Return the files and folders it makes."""
        return [Path(self.output)]


class RenderSpec(_LookSpec):
    """Render training rows as training will, and write the faulty rows as JSON: gate name to example ids."""

    kind: Literal["render"] = "render"
    base: str
    examples: str
    max_length: int
    thinking: bool | None

    def inputs(self) -> list[Path]:
        """Return the files and folders it reads; a hub id is none."""
        return [Path(self.examples), *_folder(self.base)]


class TemplatedRole(Spec):
    """A role whose chat template is looked at; `max_length` is that of its training, if it has one."""

    role: str
    model: str
    thinking: bool | None
    max_length: int | None


class TemplateSpec(_LookSpec):
    """Look at every role's chat template, and write what was found as JSON rows."""

    kind: Literal["templates"] = "templates"
    roles: tuple[TemplatedRole, ...]
    sample: str

    def inputs(self) -> list[Path]:
        """Return the files and folders it reads; a hub id is none."""
        return [path for one in self.roles for path in _folder(one.model)]


class LikelihoodSpec(_LookSpec):
    """Measure how likely a model finds completions: a Parquet file `id, prompt, completion`; writes LIKELIHOODS."""

    kind: Literal["likelihood"] = "likelihood"
    model: str
    rows: str
    thinking: bool | None

    @property
    def gpus(self) -> int:
        """The GPUs it uses, where there are any."""
        return 1

    def inputs(self) -> list[Path]:
        """Return the files and folders it reads; a hub id is none."""
        return [Path(self.rows), *_folder(self.model)]


def _folder(model: str) -> list[Path]:
    return [Path(model)] if model.startswith("/") else []


StepSpec = Annotated[GenerateSpec | TrainSpec | RenderSpec | TemplateSpec | LikelihoodSpec, Field(discriminator="kind")]
STEPS: TypeAdapter[StepSpec] = TypeAdapter(StepSpec)

_HOME = "{home}"


def travelling(spec: StepSpec, root: Path) -> str:
    """Return a step as JSON that a machine with another home can read: paths below `root` are named from it."""
    return json.dumps(_replaced(spec.model_dump(mode="json"), str(root), _HOME))


def arrived(content: str, root: Path) -> StepSpec:
    """Return a step that has travelled, with its paths below this machine's home."""
    return STEPS.validate_python(_replaced(json.loads(content), _HOME, str(root)))


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(one, old, new) for key, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, old, new) for one in value]
    return (
        new + value[len(old) :] if isinstance(value, str) and (value == old or value.startswith(f"{old}/")) else value
    )
