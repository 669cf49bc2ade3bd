"""Model steps as jobs of a Ray cluster (`dagster-ray`)."""

import shlex
from typing import Any

from resources.jobs import Elsewhere, Launching, StepFailed
from tracepipe.launching import command_for
from tracepipe.placement import Ray
from tracepipe.spec import SpecError
from tracepipe.steps import StepSpec
from tracepipe.worker import Figures


class RayCompute(Elsewhere):
    """One Ray job a step: the cluster decides where; files are shared by path, or travel through the store on S3."""

    def __init__(self, settings: Ray, launching: Launching) -> None:
        place = f"Ray at {settings.address}, up to {settings.parallel} jobs"
        super().__init__(launching, settings.training, place, settings.parallel)
        self._settings = settings

    def launch(self, spec: StepSpec) -> Figures:
        """Run one step; see `Elsewhere`."""
        client = _client(self._settings.address)
        gpus = spec.gpus if self._settings.gpu_pool else 0
        place = self.launching.travel(spec, shared=True)
        command = command_for(spec, self._settings.interpreters.get(spec.stack, "python"), place, gpu=bool(gpus))
        environment = dict(self._settings.runtime_env)
        environment["env_vars"] = {**self.launching.variables, **environment.get("env_vars", {})}
        try:
            invocation = client.run(
                context=self.launching.context,
                submit_job_params={
                    "entrypoint": shlex.join(command),
                    "runtime_env": environment,
                    "entrypoint_num_cpus": self._settings.cpus,
                    "entrypoint_num_gpus": gpus,
                    "metadata": {"step": spec.label},
                },
            )
        except RuntimeError as error:
            raise StepFailed(f"{spec.label}: {error}") from None
        return self.launching.figures(spec, invocation)


def _client(address: str) -> Any:
    try:
        from dagster_ray.core.pipes import PipesRayJobClient
    except ImportError:
        raise SpecError("compute: kind ray needs the extra: pip install -e '.[ray]'") from None
    return PipesRayJobClient(address=address, poll_interval=0.5)
