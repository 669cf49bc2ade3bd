"""Where everything lies: one folder for tables, checkpoints, responses, the catalogue and reports."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tracepipe.checkpoints import Checkpoints
from tracepipe.compute import Compute
from tracepipe.journal import Journal
from tracepipe.lineage.catalogue import rebuild
from tracepipe.mirror import Mirror, mirror_at
from tracepipe.store import Store
from tracepipe.workbench import Workbench

CHECKOUT = Path(__file__).resolve().parent.parent
"""The project's own folder, which holds `studies/` and `targets/`."""


@dataclass(frozen=True)
class Home:
    """The folder `.tracepipe`, or the one named by the environment variable TRACEPIPE_HOME."""

    root: Path
    mirror: Mirror | None = None

    @classmethod
    def default(cls) -> "Home":
        """Return the home of this process: its folder, and where TRACEPIPE_STORE names a place on S3, its mirror."""
        root = Path(os.environ.get("TRACEPIPE_HOME") or CHECKOUT / ".tracepipe").resolve()
        url = os.environ.get("TRACEPIPE_STORE")
        return cls(root, mirror_at(root, url) if url else None)

    @classmethod
    def up_to_date(cls) -> "Home":
        """Return the home of this process, with the latest of what says which tables there are, if it lies on S3."""
        home = cls.default()
        if home.mirror is not None:
            home.mirror.pull_events()
        return home

    @property
    def _open_root(self) -> Path:
        return self.root / "open"

    @property
    def _withheld_root(self) -> Path:
        return self.root / "withheld"

    def store(self, study: str) -> Store:
        """Return the open tables of a study."""
        return Store(self._open_root, study, self.mirror)

    def withheld(self, study: str) -> Store:
        """Return the tables that hold an open target's hidden traces."""
        return Store(self._withheld_root, study, self.mirror)

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints of all studies."""
        return Checkpoints(self.root / "checkpoints", self.mirror)

    def bench(self, store: Store, compute: Compute, partition: str) -> Workbench:
        """Return a workbench that leaves a partition's step files under the given store's root."""
        return Workbench(compute, store.root / "work" / partition, self.checkpoints, self.mirror)

    def journal(self, target: str) -> Journal:
        """Return the raw responses of a target, shared by all studies: what was paid for once is kept."""
        return Journal(self.responses / f"{target}.jsonl")

    def trace_log(self, target: str) -> Journal:
        """Return the hidden traces of an open target."""
        return Journal(self._withheld_root / "traces" / f"{target}.jsonl")

    def reports(self, study: str, target: str) -> Path:
        """Return the folder of a target's report."""
        return self.root / "reports" / study / target

    def dagster(self, study: str) -> Path:
        """Return the DAGSTER_HOME of a study."""
        return self.root / "dagster" / study

    @property
    def catalogue(self) -> Path:
        """The DuckDB catalogue of all studies."""
        return self.root / "lineage.duckdb"

    def rebuild_catalogue(self) -> int:
        """Rebuild the catalogue from the events of every study; returns their number."""
        if self.mirror is not None:
            self.mirror.pull_all("open/tables/", "withheld/tables/", "tombstones/")
        return rebuild(self._open_root, self._withheld_root, self.catalogue, self.tombstones)

    @property
    def responses(self) -> Path:
        """The folder of the targets' journals."""
        return self.root / "responses"

    @property
    def specs(self) -> Path:
        """The files of steps that run outside the run's own process."""
        return self.root / "specs"

    @property
    def logs(self) -> Path:
        """What such steps have printed, by run."""
        return self.root / "logs"

    @property
    def environments(self) -> Path:
        """The environments that `tracepipe envs build` has built."""
        return self.root / "envs"

    def collecting(self, target: str) -> AbstractContextManager[None]:
        """Keep a target's journals on S3 up to date while it is asked, where that is where the home lies."""
        if self.mirror is None:
            return nullcontext()
        return self.mirror.following([self.journal(target).path, self.trace_log(target).path])

    def catch_up(self, target: str | None = None) -> None:
        """Fetch what other machines have collected of a target, or of all, where the home lies on S3."""
        if self.mirror is None:
            return
        if target is None:
            self.mirror.refresh([self.responses])
        else:
            self.mirror.catch_up(self.journal(target).path)

    @property
    def journals(self) -> tuple[Path, Path]:
        """The folders of the files that grow while a target is asked: responses, and hidden traces."""
        return self.responses, self._withheld_root / "traces"

    @property
    def tombstones(self) -> Path:
        """What purges leave: one file per purged target."""
        return self.root / "tombstones"

    @property
    def roots(self) -> tuple[Path, Path]:
        """The roots of the open store and of the withheld one."""
        return self._open_root, self._withheld_root
