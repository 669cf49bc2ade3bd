"""Model steps in processes of this machine, each under the interpreter of its stack (Dagster Pipes)."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from resources.jobs import Elsewhere, Launching, StepFailed, end_of
from tracepipe.environments import interpreter
from tracepipe.launching import command_for
from tracepipe.placement import Subprocess
from tracepipe.steps import StepSpec
from tracepipe.tether import tethered
from tracepipe.worker import Figures


class SubprocessCompute(Elsewhere):
    """One process a step. It ends with this one, reports while it runs, and its output is kept."""

    def __init__(self, settings: Subprocess, launching: Launching) -> None:
        place = f"up to {settings.processes} processes, {settings.threads} thread(s) each"
        super().__init__(launching, settings.training, place, settings.processes)
        self._settings = settings
        self._gpus = Gpus(visible_gpus())

    def launch(self, spec: StepSpec) -> Figures:
        """Run one step; see `Elsewhere`."""
        place = self.launching.place(spec)
        log = self.launching.log(spec, place)
        python = interpreter(self._settings.interpreters.get(spec.stack), self.launching.home.environments)
        with self._gpus.take(spec.gpus) as gpus:
            command = command_for(spec, python, str(place), threads=self._settings.threads, gpu=bool(gpus))
            client = dg.PipesSubprocessClient(env={**self.launching.variables, **_devices(gpus)})
            try:
                invocation = client.run(context=self.launching.context, command=tethered(command, log))
            except dg.DagsterExecutionInterruptedError:
                raise
            except Exception as error:
                raise StepFailed(f"{spec.label}: {error}\n{end_of(log)}") from None
        return self.launching.figures(spec, invocation)


def _devices(gpus: Sequence[str]) -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}


def visible_gpus() -> list[str]:
    """Return the GPUs of this machine, by CUDA_VISIBLE_DEVICES where that is set."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [one for one in chosen.split(",") if one]
    if shutil.which("nvidia-smi") is None or not Path("/proc/driver/nvidia").exists():
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False).stdout  # noqa: S607
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU")]


class Gpus:
    """GPUs shared out between steps; on a machine without, every step gets none and runs on the CPU."""

    def __init__(self, gpus: Sequence[str]) -> None:
        self._all = tuple(gpus)
        self._free = list(gpus)
        self._changed = threading.Condition()

    @contextmanager
    def take(self, count: int) -> Iterator[Sequence[str]]:
        """Hold so many GPUs for a block, waiting until they are free.

        Raises:
            StepFailed: If the machine has fewer.
        """
        if not self._all or count == 0:
            yield ()
            return
        if count > len(self._all):
            raise StepFailed(
                f"a step uses {count} GPUs and this machine has {len(self._all)}; change the study's engine"
            )
        with self._changed:
            self._changed.wait_for(lambda: len(self._free) >= count)
            taken, self._free = self._free[:count], self._free[count:]
        try:
            yield taken
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()
