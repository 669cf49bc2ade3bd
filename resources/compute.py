"""Where model steps run."""

import dagster as dg
from pydantic import PrivateAttr

from tracepipe.compute import Compute, InProcessCompute, PoolCompute


class ComputeResource(dg.ConfigurableResource[None]):
    """Worker processes on this machine, kept for the length of a run; none means in this process."""

    processes: int = 0
    threads: int = 1
    _compute: Compute | None = PrivateAttr(default=None)

    @property
    def compute(self) -> Compute:
        """The compute of the current run."""
        if self._compute is None:
            self._compute = (
                PoolCompute(self.processes, self.threads) if self.processes else InProcessCompute(self.threads)
            )
        return self._compute

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """End the workers."""
        if self._compute is not None:
            self._compute.close()
            self._compute = None
