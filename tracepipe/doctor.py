"""What is wrong with a home and its machine: files left half-way, GPUs in use, tools that are missing."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tracepipe.environments import check, names
from tracepipe.home import Home

_TOOLS = {
    "git": "names the commit of the code in every table",
    "bwrap": "runs model-written code (LiveCodeBench, HumanEval+); Debian: apt-get install bubblewrap",
}
_YOUNG_SECONDS = 3600


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        subject: What was looked at.
        state: `fine`, `repaired`, `found` (repair was not asked for), `problem` (a person has to act) or `noted`.
        detail: What was found, and what to do.
    """

    subject: str
    state: str
    detail: str


def examine_files(home: Home, *, repair: bool, idle: bool) -> Iterator[Finding]:
    """Look for files that a killed process left; with `repair`, remove those that nothing will go on with.

    Args:
        home: Where everything lies.
        repair: Whether to remove them.
        idle: Whether no run is under way; otherwise young files are somebody's.
    """
    oldest = 0 if idle else _YOUNG_SECONDS
    stale = [path for path in home.root.rglob(".*.tmp") if time.time() - path.stat().st_mtime >= oldest]
    size = sum(_size(path) for path in stale)
    if stale and repair:
        for path in stale:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    state = "fine" if not stale else "repaired" if repair else "found"
    yield Finding("half-written files", state, f"{len(stale)} files and folders, {_in_words(size)}")
    trainings = list(home.checkpoints.root.glob(".*.training"))
    saved = f"{len(trainings)} killed, {_in_words(sum(map(_size, trainings)))}; the same study goes on with them"
    yield Finding("trainings", "noted" if trainings else "fine", saved)
    uploads = list((home.root / "uploads").glob("*"))
    yield Finding("uploads", "noted" if uploads else "fine", f"{len(uploads)} cut off; the next run goes on with them")


def _size(path: Path) -> int:
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


def _in_words(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def examine_machine(home: Home) -> Iterator[Finding]:
    """Look at tools, disk, GPUs and built environments."""
    for tool, use in _TOOLS.items():
        there = shutil.which(tool) is not None
        yield Finding(tool, "fine" if there else "problem", use)
    free = shutil.disk_usage(home.root if home.root.exists() else home.root.parent).free
    yield Finding("disk", "fine" if free > 2**33 else "problem", f"{free / 2**30:,.1f} GiB free at {home.root}")
    yield from _gpus()
    for name in names():
        if (home.environments / name).exists():
            wrong = check(name, home.environments)
            shown = "; ".join(wrong[:3]) or "as its lock says"
            yield Finding(f"environment {name}", "problem" if wrong else "fine", shown)


def _gpus() -> Iterator[Finding]:
    if shutil.which("nvidia-smi") is None:
        yield Finding("GPUs", "noted", "no nvidia-smi: model steps run on the CPU")
        return
    query = ["nvidia-smi", "--query-compute-apps=pid,process_name,used_memory", "--format=csv,noheader"]
    asked = subprocess.run(query, capture_output=True, text=True, check=False)
    if asked.returncode:
        yield Finding("GPUs", "noted", f"nvidia-smi finds none: {asked.stdout.strip() or asked.stderr.strip()}")
        return
    used = [line.strip() for line in asked.stdout.splitlines() if line.strip()]
    yield Finding("GPUs", "noted" if used else "fine", "in use by: " + "; ".join(used) if used else "none in use")
