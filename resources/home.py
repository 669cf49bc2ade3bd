"""The folder in which everything lies, or its mirror of a place on S3."""

from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from tracepipe.home import Home
from tracepipe.mirror import Mirror
from tracepipe.spec import SpecError


class HomeResource(dg.ConfigurableResource[None]):
    """Opens the home, fetches its mirror's events before a run, and rebuilds the lineage catalogue after it."""

    root: str
    store: str = ""
    _home: Home | None = PrivateAttr(default=None)

    @property
    def home(self) -> Home:
        """The home."""
        if self._home is None:
            root = Path(self.root)
            self._home = Home(root, _mirror(root, self.store) if self.store else None)
        return self._home

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Fetch what says which tables there are, and the journals that they are read from."""
        if self.home.mirror is not None:
            self.home.mirror.pull_events()
            self.home.mirror.refresh(self.home.journals)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Bring reports and catalogue up to date with what the run wrote, however it ended."""
        if self.home.mirror is not None:
            for folder in self.home.root.glob("reports"):
                self.home.mirror.push(folder)
        self.home.rebuild_catalogue()


def _mirror(root: Path, url: str) -> Mirror:
    """Return the mirror of a place on S3 through Dagster's own S3 resource; secrets come from the environment."""
    try:
        from dagster_aws.s3 import S3Resource
    except ImportError:
        raise SpecError("TRACEPIPE_STORE: a store on S3 needs the extra: pip install -e '.[aws]'") from None
    return Mirror(root, url, S3Resource().get_client())
