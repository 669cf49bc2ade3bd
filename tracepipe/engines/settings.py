"""How local models are asked: sampling, and the engine that does it (one line in a study: `engine: vllm`)."""

import os
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tracepipe.spec import Spec

Fraction = Annotated[float, Field(gt=0, le=1)]
Precision = Literal["auto", "bfloat16", "float16", "float32"]


class Sampling(Spec):
    """How text is drawn from a model. Defaults are the paper's (released code)."""

    temperature: float = Field(0.7, ge=0)
    top_p: Fraction = 0.9
    top_k: int = Field(0, ge=0, description="0 switches the limit off")
    repetition_penalty: float = Field(1.05, gt=0)
    max_new_tokens: int = Field(8192, gt=0)


class _Engine(Spec):
    chunk_rows: int = Field(1024, gt=0, description="rows that are on disk together; a killed step loses one chunk")
    replicas: int = Field(1, gt=0, description="workers that share a step's chunks, each with its own model")


class TransformersEngine(_Engine):
    """Generation in this stack, on a GPU where there is one: rows come and go while others are being written."""

    kind: Literal["transformers"] = "transformers"
    dtype: Precision = "auto"
    slots: int = Field(64, gt=0, description="rows that are written at once")

    @property
    def gpus(self) -> int:
        """GPUs of one replica, where there are any."""
        return 1

    def identity(self) -> dict[str, Any]:
        """Return all that decides what a row says: neither the other rows nor their number."""
        return {"endpoint": self.kind, "dtype": self.dtype}


class VllmEngine(_Engine):
    """vLLM's offline engine, one process a replica."""

    kind: Literal["vllm"] = "vllm"
    chunk_rows: int = Field(2048, gt=0, description="rows that are on disk together; a killed step loses one chunk")
    dtype: Precision = "auto"
    quantization: str | None = None
    tensor_parallel: int = Field(1, gt=0, description="GPUs of one replica")
    gpu_memory: Fraction = Field(0.9, description="share of a GPU's memory for weights and cache")
    max_model_len: int | None = Field(None, gt=0, description="tokens of prompt and text; None: the model's own")
    max_num_seqs: int | None = Field(None, gt=0, description="rows at once; None: vLLM's own")
    enforce_eager: bool = False

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor_parallel

    def identity(self) -> dict[str, Any]:
        """Return all that decides what a row says."""
        return {"endpoint": "vllm", "dtype": self.dtype, "quantization": self.quantization}


class VllmServer(VllmEngine):
    """vLLM's server: one that is running at `url`, or one that is started for each step and stopped after it."""

    kind: Literal["vllm_server"] = "vllm_server"  # type: ignore[assignment]  # narrows the tag
    url: str | None = Field(None, description="base URL up to /v1 of a running server; None starts one")
    served_model: str | None = Field(None, description="the model's name there, where it is not the study's")
    api_key_env: str | None = None
    command: tuple[str, ...] = Field(
        ("{python}", "-m", "vllm.entrypoints.cli.main", "serve", "{model}", "--host", "127.0.0.1", "--port", "{port}"),
        description="what starts a server; options follow it",
    )
    ready_seconds: float = Field(900, gt=0)
    concurrency: int = Field(256, gt=0, description="requests under way at once")

    @model_validator(mode="after")
    def _runs_or_is_started(self) -> Self:
        if self.url is None and self.served_model is not None:
            raise ValueError("served_model belongs to a running server; give its url")
        if self.api_key_env is not None and self.api_key_env not in os.environ:
            raise ValueError(f"the environment variable {self.api_key_env} (api_key_env) is not set")
        return self

    @property
    def gpus(self) -> int:
        """GPUs that a step needs: none where the server is somewhere else."""
        return 0 if self.url else self.tensor_parallel

    def identity(self) -> dict[str, Any]:
        """Return all that decides what a row says; a server of our own is the same engine as the offline one."""
        return super().identity() | ({"base_url": self.url} if self.url else {})


class RayDataEngine(VllmEngine):
    """vLLM under Ray Data LLM: one step uses the whole cluster, replicas come and go with its size."""

    kind: Literal["ray_data"] = "ray_data"  # type: ignore[assignment]  # narrows the tag
    address: str | None = Field(None, description="of the cluster, as ray.init takes it; None: the step's own")
    workers: int = Field(1, gt=0, description="replicas that Ray places")
    batch_rows: int = Field(64, gt=0, description="rows that travel to a replica together")

    @property
    def gpus(self) -> int:
        """GPUs that a step reserves: Ray reserves those of the replicas itself."""
        return 0


def _by_name(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Engine = Annotated[
    Annotated[TransformersEngine | VllmEngine | VllmServer | RayDataEngine, Field(discriminator="kind")],
    BeforeValidator(_by_name),
]
"""An engine with its settings, or only its name."""
