"""The known targets."""

from pathlib import Path

import dagster as dg

from tracepipe.target import Target, find_target


class RegistryResource(dg.ConfigurableResource[None]):
    """Finds target files by name, which is their partition key."""

    folder: str

    def find(self, name: str) -> tuple[Target, Path]:
        """Return a target and its file."""
        return find_target(Path(self.folder), name)
