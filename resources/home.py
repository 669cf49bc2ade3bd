"""The folder in which everything lies."""

from pathlib import Path

import dagster as dg

from tracepipe.home import Home


class HomeResource(dg.ConfigurableResource[None]):
    """Opens the home folder, and rebuilds the lineage catalogue after a run."""

    root: str

    @property
    def home(self) -> Home:
        """The home."""
        return Home(Path(self.root))

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Bring the catalogue up to date with what the run wrote, however it ended."""
        self.home.rebuild_catalogue()
