"""The roles of an experiment and the models that play them (paper section 3)."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from tracepipe.engines.generation import Asking
from tracepipe.engines.settings import Engine, Sampling, TransformersEngine
from tracepipe.identity import weights_id
from tracepipe.spec import Spec, resolve_path
from tracepipe.training.recipe import Recipe

Shown = Literal["summary", "answer"]
"""What a target shows beside the prompt: its answer, or its answer and a text on its reasoning."""

Exposure = str
"""`answer`, `summary` as the target writes it, or the name of one of the study's policies."""


class Model(Spec):
    """A local checkpoint folder (`./`, `../` or `/` path) or a hub id."""

    model: str

    @field_validator("model")
    @classmethod
    def _local_path(cls, value: str, info: ValidationInfo) -> str:
        resolved = resolve_path(value, info)
        if resolved.startswith("/") and not Path(resolved, "config.json").is_file():
            raise ValueError(f"{resolved} holds no checkpoint (config.json); give a model folder or a hub id")
        return resolved

    @property
    def name(self) -> str:
        """The hub id, or the folder's name."""
        return Path(self.model).name if self.model.startswith("/") else self.model

    def identity(self) -> dict[str, Any]:
        """Return all that this role decides, with the weights identified by content and not by place."""
        return self.model_dump(mode="json", exclude={"model"}) | {"weights": weights_id(self.model)}


class Role(Model):
    """A model that is asked: how, by which engine (the study's where it names none), and with what rendering."""

    sampling: Sampling = Sampling()
    engine: Engine = TransformersEngine()
    thinking: bool | None = Field(None, description="on or off, where the model's chat template has such a switch")

    @property
    def asking(self) -> Asking:
        """How the role's model is asked."""
        return Asking(self.engine, self.sampling, self.thinking)

    def identity(self) -> dict[str, Any]:
        """Return all that this role decides; of the engine, what decides a text."""
        return super().identity() | {"engine": self.engine.identity()}


class Wording(Spec):
    """A prompt with `{prompt}` and, where the role is shown them, `{summary}`, `{answer}` and `{trace}`."""

    version: str = "1"
    template: str


class FunctionCompressor(Spec):
    """A Python function from trace to summary, as `module:function`."""

    kind: Literal["function"]
    function: str = Field(pattern=r"^[\w.]+:\w+$")


class ModelCompressor(Role):
    """A prompted model, never fine-tuned, that writes target-style summaries of traces (paper section 3)."""

    kind: Literal["model"]
    wording: Wording | None = None


class Surrogate(Role):
    """The open reasoning model whose traces the inverter learns from."""

    wording: Wording = Wording(template="{prompt}")


class Inverter(Role):
    """The model fine-tuned to write a trace from what a target shows; one is trained per exposure."""

    recipe: Recipe = Recipe()
    wording: dict[Shown, Wording] = Field(default_factory=dict)


class Student(Role):
    """The base model every condition fine-tunes a copy of, once per seed."""

    recipe: Recipe = Recipe(batch_size=96)
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    sampling: Sampling = Sampling(max_new_tokens=32768)
    wording: Wording = Wording(template="{prompt}")

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"seeds must differ, got {list(value)}")
        return value
