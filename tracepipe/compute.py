"""Where model steps run: the protocol, and the ways that need nothing but this interpreter."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from multiprocessing.queues import SimpleQueue
from typing import Protocol

from tracepipe import progress
from tracepipe.placement import Training
from tracepipe.steps import StepSpec
from tracepipe.worker import Figures, run

Reading = tuple[str, int, int]


class Compute(Protocol):
    """Runs model steps to their end."""

    figures: list[Figures]
    """What the steps since the last look have reported."""

    @property
    def training(self) -> Training:
        """How fine-tuning is spread out here."""

    @property
    def place(self) -> str:
        """Where the steps run, in words."""

    def run(self, specs: Sequence[StepSpec]) -> None:
        """Run all steps; the first failure stops those not yet begun and is raised."""

    def close(self) -> None:
        """Give back what is held."""


class InProcessCompute:
    """One step after the other, in this process."""

    def __init__(self, threads: int, training: Training | None = None) -> None:
        self._threads = threads
        self.training = training or Training()
        self.place = f"one process, {threads} thread(s)"
        self.figures: list[Figures] = []

    def run(self, specs: Sequence[StepSpec]) -> None:
        """Run all steps in order."""
        import torch

        torch.set_num_threads(self._threads)
        self.figures += [run(spec) for spec in specs]

    def close(self) -> None:
        """Nothing is held."""


class PoolCompute:
    """Several steps at once in worker processes that are kept from step to step.

    The workers are started when first needed, report their progress here, and end with this process,
    however it ends.
    """

    def __init__(self, processes: int, threads: int, training: Training | None = None) -> None:
        self._processes = processes
        self._threads = threads
        self._pool: ProcessPoolExecutor | None = None
        self._readings: SimpleQueue[Reading | None] | None = None
        self.training = training or Training()
        self.place = f"{processes} processes, {threads} thread(s) each"
        self.figures: list[Figures] = []

    def run(self, specs: Sequence[StepSpec]) -> None:
        """Run all steps, as many at once as there are workers."""
        pool = self._started()
        self.figures += all_of([pool.submit(run, spec) for spec in specs])

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None and self._readings is not None:
            self._pool.shutdown(cancel_futures=True)
            self._readings.put(None)
            self._pool = None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._readings = context.SimpleQueue()
            threading.Thread(target=_relay, args=(self._readings,), daemon=True).start()
            self._pool = ProcessPoolExecutor(
                self._processes, context, _start_worker, (self._readings, self._threads, os.getpid())
            )
        return self._pool


def totals(figures: Sequence[Figures]) -> Figures:
    """Add up what steps have reported; of memory and devices, return the most."""
    added: Figures = {"model steps": len(figures)} if figures else {}
    for name, value in ((name, value) for one in figures for name, value in one.items() if name != "label"):
        key = f"steps: {name}"
        added[key] = (
            max(added.get(key, 0), value)
            if name in ("GPU memory GiB", "devices")
            else round(added.get(key, 0) + value, 3)
        )
    return added


def all_of(futures: Sequence[Future[Figures]]) -> list[Figures]:
    """Wait for all steps; the first failure stops those not yet begun and is raised."""
    _, waiting = wait(futures, return_when=FIRST_EXCEPTION)
    for future in waiting:
        future.cancel()
    return [future.result() for future in futures if not future.cancelled()]


def side_by_side(launch: Callable[[StepSpec], Figures], specs: Sequence[StepSpec], at_once: int) -> list[Figures]:
    """Launch steps that run somewhere else, so many at once, each watched by a thread of this process."""
    with ThreadPoolExecutor(at_once) as watchers:
        return all_of([watchers.submit(launch, spec) for spec in specs])


def _relay(readings: "SimpleQueue[Reading | None]") -> None:
    while (reading := readings.get()) is not None:
        progress.emit(*reading)


def _start_worker(readings: "SimpleQueue[Reading | None]", threads: int, parent: int) -> None:
    import torch

    torch.set_num_threads(threads)
    progress.report_to(lambda *reading: readings.put(reading))
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()


def end_with(parent: int) -> None:
    """End this process when its parent is gone: a killed parent cannot end it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
