"""The known targets."""

from pathlib import Path

import dagster as dg

from tracepipe.registry import find_target, survey
from tracepipe.target import Target


class RegistryResource(dg.ConfigurableResource[None]):
    """Finds target files by partition key: the target's name, with the date of a revision."""

    folder: str

    def find(self, name: str) -> tuple[Target, Path]:
        """Return a target and its file."""
        return find_target(Path(self.folder), name)

    def survey(self) -> tuple[dict[str, Path], dict[Path, str]]:
        """Return the files of all targets by name, and what is wrong with the others."""
        return survey(Path(self.folder))
