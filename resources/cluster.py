"""Model steps as ECS tasks and Kubernetes pods; their files travel through the store on S3."""

from typing import Any

from resources.jobs import Elsewhere, Launching, StepFailed
from tracepipe.launching import command_for
from tracepipe.placement import Ecs, Kubernetes
from tracepipe.spec import SpecError
from tracepipe.steps import StepSpec
from tracepipe.worker import Figures


class EcsCompute(Elsewhere):
    """One ECS task a step; its image holds the environment of the step's stack."""

    def __init__(self, settings: Ecs, launching: Launching) -> None:
        place = f"ECS, task {settings.task_definition}, up to {settings.parallel} at once"
        super().__init__(launching, settings.training, place, settings.parallel)
        self._settings = settings

    def launch(self, spec: StepSpec) -> Figures:
        """Run one step; see `Elsewhere`."""
        place = self.launching.travel(spec, shared=False)
        client = _ecs_client()
        try:
            invocation = client.run(
                context=self.launching.context, run_task_params=task_parameters(self._settings, spec, place)
            )
        except RuntimeError as error:
            raise StepFailed(f"{spec.label}: {error}") from None
        return self.launching.figures(spec, invocation)


def task_parameters(settings: Ecs, spec: StepSpec, place: str) -> dict[str, Any]:
    """Return the parameters of `run_task`."""
    container: dict[str, Any] = {"name": settings.container, "command": command_for(spec, "python", place)}
    if spec.gpus:
        container["resourceRequirements"] = [{"type": "GPU", "value": str(spec.gpus)}]
    else:
        container["command"] = command_for(spec, "python", place, gpu=False)
    parameters: dict[str, Any] = {
        "taskDefinition": settings.task_definition,
        "launchType": settings.launch_type,
        "overrides": {"containerOverrides": [container]},
    }
    if settings.cluster:
        parameters["cluster"] = settings.cluster
    if settings.subnets:
        places = {"subnets": list(settings.subnets), "securityGroups": list(settings.security_groups)}
        parameters["networkConfiguration"] = {"awsvpcConfiguration": places}
    return parameters


def _ecs_client() -> Any:
    try:
        from dagster_aws.pipes import PipesECSClient
    except ImportError:
        raise SpecError("compute: kind ecs needs the extra: pip install -e '.[aws]'") from None
    return PipesECSClient()


class KubernetesCompute(Elsewhere):
    """One pod a step; its image holds the environment of the step's stack."""

    def __init__(self, settings: Kubernetes, launching: Launching) -> None:
        place = f"Kubernetes, image {settings.image}, up to {settings.parallel} pods"
        super().__init__(launching, settings.training, place, settings.parallel)
        self._settings = settings

    def launch(self, spec: StepSpec) -> Figures:
        """Run one step; see `Elsewhere`."""
        place = self.launching.travel(spec, shared=False)
        client = _kubernetes_client()
        try:
            invocation = client.run(
                context=self.launching.context,
                namespace=self._settings.namespace,
                image=self._settings.image,
                command=command_for(spec, "python", place, gpu=bool(spec.gpus)),
                base_pod_spec=pod_spec(self._settings, spec),
            )
        except RuntimeError as error:
            raise StepFailed(f"{spec.label}: {error}") from None
        return self.launching.figures(spec, invocation)


def pod_spec(settings: Kubernetes, spec: StepSpec) -> dict[str, Any]:
    """Return the pod's specification around its command."""
    container: dict[str, Any] = {"name": "worker"}
    if spec.gpus:
        container["resources"] = {"limits": {"nvidia.com/gpu": str(spec.gpus)}}
    if settings.secret:
        container["envFrom"] = [{"secretRef": {"name": settings.secret}}]
    return {"restartPolicy": "Never", "containers": [container], **settings.pod_spec}


def _kubernetes_client() -> Any:
    try:
        from dagster_k8s import PipesK8sClient
    except ImportError:
        raise SpecError("compute: kind kubernetes needs the extra: pip install -e '.[kubernetes]'") from None
    return PipesK8sClient()
