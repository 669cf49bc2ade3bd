"""Where model steps run: the study key `compute`. It decides no row and no weight, only where and how fast."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from tracepipe.spec import Spec

Stack = Literal["train", "vllm"]
Strategy = Literal["ddp", "fsdp2", "deepspeed_zero3"]


class Training(Spec):
    """How many devices one fine-tuning uses, and how its weights are spread over them (`accelerate`)."""

    devices: int = Field(1, gt=0)
    strategy: Strategy = "ddp"
    save_minutes: float = Field(20, gt=0, description="a killed fine-tuning loses so much at most")
    report_to: tuple[Literal["tensorboard", "trackio"], ...] = ()


class _Compute(Spec):
    training: Training = Training()


class Local(_Compute):
    """Worker processes of this interpreter on this machine, kept for a run; none: in the run's own process."""

    kind: Literal["local"] = "local"
    processes: int = Field(0, ge=0, le=64)
    threads: int = Field(1, gt=0, description="PyTorch threads per process")


class _Interpreters(_Compute):
    interpreters: dict[Stack, str] = Field(
        default_factory=dict,
        description="stack to an environment built by `tracepipe envs build`, or a path to a Python",
    )

    @field_validator("interpreters")
    @classmethod
    def _resolved(cls, value: dict[Stack, str], info: ValidationInfo) -> dict[Stack, str]:
        """Resolve paths against the file's folder, and no links: the Python of an environment is a link out of it."""
        folder: Path = (info.context or {}).get("folder", Path.cwd())
        return {stack: str((folder / one).absolute()) if "/" in one else one for stack, one in value.items()}


class Subprocess(_Interpreters):
    """One process a step, each under the interpreter of its stack (Dagster Pipes)."""

    kind: Literal["subprocess"]
    processes: int = Field(1, gt=0, le=64, description="steps at once; where there are GPUs, these are shared out")
    threads: int = Field(1, gt=0, description="PyTorch threads per process")


class Ray(_Interpreters):
    """One Ray job a step (`dagster-ray`); a stack without an interpreter runs under the cluster's `python`."""

    kind: Literal["ray"]
    address: str = Field("http://127.0.0.1:8265", description="of the cluster's dashboard")
    parallel: int = Field(4, gt=0, description="jobs at once")
    cpus: float = Field(1, gt=0, description="CPUs that a step reserves")
    gpu_pool: bool = Field(True, description="reserve as many GPUs as a step uses; off on a cluster without")
    runtime_env: dict[str, Any] = Field(default_factory=dict)


class Ecs(_Compute):
    """One ECS task a step; the store must be on S3."""

    kind: Literal["ecs"]
    task_definition: str
    container: str = "worker"
    cluster: str | None = None
    launch_type: Literal["EC2", "FARGATE"] = "EC2"
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    parallel: int = Field(4, gt=0, description="tasks at once")


class Kubernetes(_Compute):
    """One pod a step; the store must be on S3."""

    kind: Literal["kubernetes"]
    image: str
    namespace: str = "default"
    parallel: int = Field(4, gt=0, description="pods at once")
    pod_spec: dict[str, Any] = Field(default_factory=dict, description="merged into the pod's, such as nodeSelector")
    secret: str | None = Field(None, description="a Secret whose keys become environment variables")


Compute = Annotated[Local | Subprocess | Ray | Ecs | Kubernetes, Field(discriminator="kind")]


@dataclass(frozen=True)
class Gpu:
    """Figures of a GPU: dense bfloat16 operations per second, TFLOP/s; memory, GiB; its bandwidth, TB/s."""

    teraflops: float
    memory_gib: float
    bandwidth: float


GPUS = {
    "h200": Gpu(989, 141, 4.8),
    "h100": Gpu(989, 80, 3.35),
    "a100": Gpu(312, 80, 2.0),
    "l40s": Gpu(362, 48, 0.86),
    "rtx4090": Gpu(165, 24, 1.0),
}


class Hardware(Spec):
    """What an estimate counts with; it decides nothing else."""

    gpu: Literal["h200", "h100", "a100", "l40s", "rtx4090"] = "h100"
    count: int = Field(8, gt=0)
    usd_per_hour: float = Field(2.5, ge=0, description="of one GPU")
    writers: int = Field(64, gt=0, description="texts that are written at once on one GPU")
