"""Commands that run a model step in a process of its own, alone or as several processes that train together."""

from collections.abc import Sequence
from pathlib import Path

from tracepipe.placement import Strategy
from tracepipe.steps import StepSpec, TrainSpec

ACCELERATE = Path(__file__).parent / "training" / "accelerate"
"""The folder of `accelerate` configurations, one per strategy."""


def command_for(spec: StepSpec, python: str, place: str, *, threads: int | None = None, gpu: bool = True) -> list[str]:
    """Return the command of a step.

    Args:
        spec: The step.
        python: The interpreter that runs it.
        place: The step's file, as the worker will find it.
        threads: PyTorch threads per process; None leaves PyTorch's own.
        gpu: Whether it runs on GPUs; several processes without talk through gloo.
    """
    worker = ["-m", "tracepipe.worker", place, *(["--threads", str(threads)] if threads else [])]
    if spec.devices == 1:
        return [python, *worker]
    strategy: Strategy = spec.training.strategy if isinstance(spec, TrainSpec) else "ddp"
    return [python, "-m", *launcher(strategy, spec.devices, gpu=gpu), *worker]


def launcher(strategy: Strategy, devices: int, *, gpu: bool) -> Sequence[str]:
    """Return the module that starts several processes, with its options: `accelerate launch`.

    It starts one process alone where there are no GPUs, whatever it is told, so there it is torch's own launcher;
    `accelerate` inside the processes is the same.

    Raises:
        ValueError: If weights are to be spread over processes without GPUs.
    """
    if gpu:
        count = ["--num_processes", str(devices), "--num_machines", "1", "--main_process_port", "0"]
        return ["accelerate.commands.launch", "--config_file", str(ACCELERATE / f"{strategy}.yaml"), *count]
    if strategy != "ddp":
        raise ValueError(f"compute.training: strategy {strategy} needs GPUs, and there are none; use ddp")
    return ["torch.distributed.run", "--standalone", "--nproc_per_node", str(devices)]
