"""What all ways of running a step outside this process share: its file, its log, and what came of it."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from tracepipe.compute import side_by_side
from tracepipe.files import write_atomically
from tracepipe.home import CHECKOUT, Home
from tracepipe.identity import digest
from tracepipe.placement import Training
from tracepipe.spec import SpecError
from tracepipe.steps import StepSpec, TrainSpec, travelling
from tracepipe.worker import Figures

_LAST_CHARACTERS = 4000

# Each session of Pipes says that its own reader is a preview, once a step.
warnings.filterwarnings("ignore", category=dg.PreviewWarning, module=r"dagster\._core\.pipes")


class StepFailed(RuntimeError):
    """A step that ran outside this process and failed; the message names it and holds the end of its output."""


@dataclass(frozen=True)
class Launching:
    """The asset whose steps are launched, and where all lies."""

    context: dg.AssetExecutionContext
    home: Home

    def place(self, spec: StepSpec) -> Path:
        """Write a step's file, named by content, and return it."""
        return self._write(spec.model_dump_json())

    def travel(self, spec: StepSpec, *, shared: bool) -> str:
        """Return where a worker on another machine finds a step's file; what the step reads is put on S3 first.

        Args:
            spec: The step.
            shared: Whether machines may share this one's files, where there is no S3.

        Raises:
            SpecError: If they share nothing.
        """
        mirror = self.home.mirror
        if mirror is None:
            if shared:
                return str(self.place(spec))
            raise SpecError(
                "compute: steps on other machines need a store they can reach; set TRACEPIPE_STORE=s3://..."
            )
        for path in spec.inputs():
            if path.is_relative_to(self.home.root):
                mirror.push(path)
        place = self._write(travelling(spec, self.home.root))
        mirror.push(place)
        return f"{mirror.url.rstrip('/')}/{place.relative_to(self.home.root).as_posix()}"

    def _write(self, content: str) -> Path:
        path = self.home.specs / f"{digest(content)}.json"
        write_atomically(path, content.encode())
        return path

    def log(self, spec: StepSpec, place: Path) -> Path:
        """Return the file that keeps a step's output, and name it in the run's log."""
        path = self.home.logs / self.context.run.run_id / f"{place.stem}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.context.log.info(f"{spec.label}: output in {path}")
        return path

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment of a worker on this machine, or on one that shares its files: it imports this checkout."""
        return {"PYTHONPATH": str(CHECKOUT)}

    def figures(self, spec: StepSpec, invocation: Any) -> Figures:
        """Return what a worker reported, and check that it has made its files.

        Raises:
            StepFailed: If one is missing.
        """
        missing = [str(path) for path in spec.outputs() if not self._made(spec, path)]
        if missing:
            raise StepFailed(f"{spec.label}: its process ended without an error and without {', '.join(missing)}")
        messages = invocation.get_custom_messages()
        return dict(messages[-1]) if messages else {"label": spec.label}

    def _made(self, spec: StepSpec, path: Path) -> bool:
        if isinstance(spec, TrainSpec):
            return self.home.checkpoints.find(spec.checkpoint_id) is not None
        return path.exists() or (self.home.mirror is not None and self.home.mirror.pull(path))


class Elsewhere(ABC):
    """Compute that launches each step somewhere else and waits for it, several side by side.

    Args:
        launching: The asset whose steps these are.
        training: How fine-tuning is spread out there.
        place: Where that is, in words.
        at_once: How many steps may be under way.
    """

    def __init__(self, launching: Launching, training: Training, place: str, at_once: int) -> None:
        self.launching = launching
        self.training = training
        self.place = place
        self.figures: list[Figures] = []
        self._at_once = at_once

    def run(self, specs: Sequence[StepSpec]) -> None:
        """Run all steps, as many at once as there is room for."""
        self.figures += side_by_side(self.launch, specs, self._at_once)

    @abstractmethod
    def launch(self, spec: StepSpec) -> Figures:
        """Run one step to its end.

        Raises:
            StepFailed: If it fails.
        """

    def close(self) -> None:  # noqa: B027 - a promise kept, not a hook
        """Nothing is held."""


def end_of(log: Path) -> str:
    """Return the end of a kept output."""
    return log.read_text(encoding="utf-8", errors="replace")[-_LAST_CHARACTERS:] if log.exists() else ""
