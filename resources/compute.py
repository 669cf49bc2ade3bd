"""Where model steps run: the study's `compute`, as the object that runs them."""

import dagster as dg
from pydantic import PrivateAttr, TypeAdapter

from resources.cluster import EcsCompute, KubernetesCompute
from resources.jobs import Launching
from resources.ray import RayCompute
from resources.subprocesses import SubprocessCompute
from tracepipe import placement
from tracepipe.compute import Compute, InProcessCompute, PoolCompute
from tracepipe.home import Home

_SETTINGS: TypeAdapter[placement.Compute] = TypeAdapter(placement.Compute)


class ComputeResource(dg.ConfigurableResource[None]):
    """The study's `compute` as JSON. Local workers are kept for the length of a run."""

    settings: str
    _local: Compute | None = PrivateAttr(default=None)

    def for_step(self, context: dg.AssetExecutionContext, home: Home) -> Compute:
        """Return what runs the model steps of one asset."""
        settings = _SETTINGS.validate_json(self.settings)
        if isinstance(settings, placement.Local):
            self._local = self._local or _local(settings)
            return self._local
        launching = Launching(context, home)
        if isinstance(settings, placement.Subprocess):
            return SubprocessCompute(settings, launching)
        if isinstance(settings, placement.Ray):
            return RayCompute(settings, launching)
        if isinstance(settings, placement.Ecs):
            return EcsCompute(settings, launching)
        return KubernetesCompute(settings, launching)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """End the workers."""
        if self._local is not None:
            self._local.close()
            self._local = None


def _local(settings: placement.Local) -> Compute:
    if settings.processes:
        return PoolCompute(settings.processes, settings.threads, settings.training)
    return InProcessCompute(settings.threads, settings.training)
