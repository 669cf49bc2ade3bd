"""Where model steps run: in this process, or in a pool of worker processes on this machine."""

import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from multiprocessing.queues import SimpleQueue
from typing import Protocol

from tracepipe import progress
from tracepipe.worker import WorkerSpec, run

Reading = tuple[str, int, int]


class Compute(Protocol):
    """Runs model steps to their end."""

    def run(self, specs: Sequence[WorkerSpec]) -> None:
        """Run all steps; the first failure stops those not yet begun and is raised."""

    def close(self) -> None:
        """Give back what is held."""

    @property
    def place(self) -> str:
        """Where the steps run, in words."""


class InProcessCompute:
    """One step after the other, in this process."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def run(self, specs: Sequence[WorkerSpec]) -> None:
        """Run all steps in order."""
        import torch

        torch.set_num_threads(self._threads)
        for spec in specs:
            run(spec)

    def close(self) -> None:
        """Nothing is held."""

    @property
    def place(self) -> str:
        """Where the steps run, in words."""
        return f"one process, {self._threads} thread(s)"


class PoolCompute:
    """Several steps at once in worker processes that are kept from step to step.

    The workers are started when first needed, report their progress here, and end with this process,
    however it ends.
    """

    def __init__(self, processes: int, threads: int) -> None:
        self._processes = processes
        self._threads = threads
        self._pool: ProcessPoolExecutor | None = None
        self._readings: SimpleQueue[Reading | None] | None = None

    @property
    def place(self) -> str:
        """Where the steps run, in words."""
        return f"{self._processes} processes, {self._threads} thread(s) each"

    def run(self, specs: Sequence[WorkerSpec]) -> None:
        """Run all steps, as many at once as there are workers."""
        pool = self._started()
        futures: list[Future[None]] = [pool.submit(run, spec) for spec in specs]
        _, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        for future in waiting:
            future.cancel()
        for future in futures:
            if not future.cancelled():
                future.result()

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
