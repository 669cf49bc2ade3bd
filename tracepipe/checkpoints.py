"""Checkpoints on disk, named by what they were trained from and on; the same id is never trained twice."""

import json
import math
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import polars as pl

from tracepipe.files import move_into_place
from tracepipe.gates import Gate, none_fail
from tracepipe.identity import digest
from tracepipe.mirror import Mirror
from tracepipe.records import CHECKPOINTS, from_rows

_MANIFEST = "tracepipe.json"

TRAINING_GATES = {
    "weights_changed": "checkpoints whose weights are those of the base",
    "checkpoint_generates": "checkpoints that, loaded from disk, write nothing",
    "loss_fell": "checkpoints whose training loss did not fall",
}
"""Gate name to what a failing checkpoint is."""


@dataclass(frozen=True)
class Manifest:
    """What is known of a checkpoint.

    Attributes:
        losses: Training loss, one value per logging interval.
        sample: What the saved checkpoint, loaded again, wrote for one of its training prompts.
        seconds: Training time.
        changed: Share of the base's tensors whose values differ; NaN in manifests from before it was measured.
        validation_losses: Loss on held-out examples, as often as the recipe says; the state with the lowest was kept.
        first_phase: Share of the training that its first phase takes; the loss begins anew with other rows.
    """

    checkpoint_id: str
    role: str
    base_weights: str
    dataset_hash: str
    recipe_hash: str
    seed: int
    weights: str
    examples: int
    losses: list[float]
    sample: str
    seconds: float
    changed: float = math.nan
    validation_losses: list[float] = field(default_factory=list)
    first_phase: float = 1.0

    def failed_gates(self) -> list[str]:
        """Return the names of the training gates that this checkpoint fails."""
        losses = self.losses[: round(self.first_phase * len(self.losses))]
        share = max(1, len(losses) // 5)
        first, last = losses[:share], losses[-share:]
        verdicts = {
            "weights_changed": self.changed > 0,
            "checkpoint_generates": bool(self.sample.strip()),
            "loss_fell": len(losses) > 1 and sum(last) / len(last) < sum(first) / len(first),
        }
        return [name for name, passed in verdicts.items() if not passed]


def checkpoint_id(*, base_weights: str, dataset_hash: str, recipe_hash: str, seed: int, code_version: str) -> str:
    """Return the identity of a checkpoint from all that decides its weights."""
    parts = {"base": base_weights, "data": dataset_hash, "recipe": recipe_hash, "seed": seed, "code": code_version}
    return "c_" + digest(parts)


def training_gates(manifests: list[Manifest]) -> list[Gate]:
    """Check that training did something and that the result can be used."""
    failed = [(name, manifest.checkpoint_id) for manifest in manifests for name in manifest.failed_gates()]
    return [
        none_fail(gate, [checkpoint for name, checkpoint in failed if name == gate], summary)
        for gate, summary in TRAINING_GATES.items()
    ]


def training_seconds(manifests: list[Manifest]) -> dict[str, float]:
    """Return how long the trainings took together, as a figure to keep with their table."""
    return {"training seconds": round(sum(manifest.seconds for manifest in manifests), 1)}


class Checkpoints:
    """The folder of checkpoints."""

    def __init__(self, root: Path, mirror: Mirror | None = None) -> None:
        self.root = root
        self._mirror = mirror

    def path(self, name: str) -> Path:
        """Return where a checkpoint lies or will lie."""
        return self.root / name

    def scratch(self, name: str) -> Path:
        """Return where the state of a training in progress lies."""
        return self.root / f".{name}.training"

    def find(self, name: str) -> Manifest | None:
        """Return a finished checkpoint's manifest; its weights may still be on S3 alone."""
        path = self.path(name) / _MANIFEST
        if not path.exists() and self._mirror is not None:
            remembered = self.root / ".manifests" / f"{name}.json"
            path = remembered if self._mirror.pull(path, remembered) else path
        return Manifest(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def folder(self, name: str) -> Path:
        """Return a finished checkpoint's folder, with its weights.

        Raises:
            FileNotFoundError: See `manifest`.
        """
        self.manifest(name)
        if not (self.path(name) / _MANIFEST).exists() and self._mirror is not None:
            self._mirror.pull_folder(self.path(name))
        return self.path(name)

    def share(self, name: str) -> None:
        """Put a finished checkpoint on S3, if that is where the home lies; what is there already is left alone."""
        if self._mirror is not None and (self.path(name) / _MANIFEST).exists():
            self._mirror.push(self.path(name))

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a checkpoint that must be there.

        Raises:
            FileNotFoundError: If it is not; names its folder.
        """
        found = self.find(name)
        if found is None:
            raise FileNotFoundError(f"checkpoint {self.path(name)} is missing or was not finished; run again")
        return found

    def create(self, name: str, build: Callable[[Path], Manifest]) -> Manifest:
        """Build a checkpoint in a temporary folder and move it into place; an existing one is kept.

        Args:
            name: The checkpoint's id.
            build: Fills the folder it is given and returns the manifest.
        """
        found = self.find(name)
        if found:
            return found
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = self.root / f".{name}.{uuid.uuid4().hex}.tmp"
        try:
            manifest = build(temporary)
            (temporary / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
            self._install(temporary, name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return manifest

    def _install(self, temporary: Path, name: str) -> None:
        try:
            move_into_place(temporary, self.path(name))
        except OSError:
            # A folder cannot replace a filled one: another process finished the same checkpoint first.
            if not (self.path(name) / _MANIFEST).exists():
                raise


def checkpoint_rows(role: str, manifests: list[tuple[int | None, Manifest]]) -> pl.DataFrame:
    """Return the CHECKPOINTS table of manifests given with their seeds as named in the study.

    The role is this table's: conditions whose rows are the same share a checkpoint, which was made for the first.
    """
    return from_rows(
        [
            {
                "checkpoint_id": manifest.checkpoint_id,
                "role": role,
                "seed": seed,
                "base_weights": manifest.base_weights,
                "dataset_hash": manifest.dataset_hash,
                "recipe_hash": manifest.recipe_hash,
                "weights": manifest.weights,
                "examples": manifest.examples,
                "losses": manifest.losses,
            }
            for seed, manifest in manifests
        ],
        CHECKPOINTS,
    )
