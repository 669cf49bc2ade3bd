"""Environments of the stacks: one locked list of packages each (`envs/`), built side by side, since they pin torch."""

import json
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from tracepipe.spec import SpecError

CHECKOUT = Path(__file__).resolve().parent.parent
LOCKS = CHECKOUT / "envs"

_LOOK = (
    "import importlib.metadata as m, json, tracepipe.worker; "
    "print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}))"
)


def names() -> list[str]:
    """Return the stacks that have a lock."""
    return sorted(path.stem for path in LOCKS.glob("*.txt"))


def interpreter(place: str | None, environments: Path) -> str:
    """Return a stack's Python: this one, a path to one, or that of an environment that was built.

    Args:
        place: As the study has it.
        environments: The folder of built environments.

    Raises:
        SpecError: If it is not there.
    """
    if place is None:
        return sys.executable
    python = Path(place) if place.startswith("/") else environments / place / "bin" / "python"
    if not python.exists():
        built = "" if place.startswith("/") else f"; build it: tracepipe envs build {place}"
        raise SpecError(f"compute.interpreters: there is no Python at {python}{built}")
    return str(python)


def locked(name: str) -> dict[str, str]:
    """Return package to version of a lock.

    Raises:
        SpecError: If there is none of that name.
    """
    path = LOCKS / f"{name}.txt"
    if not path.exists():
        raise SpecError(f"there is no environment '{name}'; there are: {', '.join(names())}")
    lines = [line.split(";")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    pins = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {package.partition("[")[0].strip().lower().replace("_", "-"): version.strip() for package, version in pins}


def build(name: str, environments: Path, tell: Callable[[str], None], python: str = sys.executable) -> Path:
    """Create an environment and install its lock, and TracePipe from this checkout.

    Args:
        name: The stack.
        environments: Where it goes.
        tell: Told what is being done.
        python: The Python it is made from.

    Returns:
        Its interpreter.

    Raises:
        SpecError: If there is no such lock, or installing fails; holds the installer's last words.
    """
    locked(name)
    folder = environments / name
    tell(f"creating {folder}")
    if python == sys.executable:
        venv.create(folder, with_pip=True, clear=True)
    else:
        _installer([python, "-m", "venv", "--clear", str(folder)])
    inside = folder / "bin" / "python"
    tell(f"installing {LOCKS / f'{name}.txt'}")
    pip = [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _installer([*pip, "--no-deps", "-r", str(LOCKS / f"{name}.txt")])
    _installer([*pip, "--no-deps", "--no-build-isolation", "-e", str(CHECKOUT)])
    return inside


def _installer(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SpecError(f"{' '.join(command[:4])} failed:\n{(ended.stderr or ended.stdout)[-2000:]}")


def check(name: str, environments: Path) -> list[str]:
    """Return what is wrong with a built environment: nothing, or sentences.

    Raises:
        SpecError: If there is no such lock, or no such environment.
    """
    wanted = locked(name)
    python = interpreter(name, environments)
    looked = subprocess.run([python, "-c", _LOOK], capture_output=True, text=True, check=False)
    if looked.returncode:
        return [f"its Python cannot import tracepipe.worker: {looked.stderr.strip().splitlines()[-1]}"]
    found = json.loads(looked.stdout)
    return [
        f"{package} is {found.get(package, 'missing')}, the lock says {version}"
        for package, version in wanted.items()
        if _release(found.get(package, "")) != _release(version)
    ]


def _release(version: str) -> str:
    """A version without its local part: torch 2.13.0+cpu is torch 2.13.0."""
    return version.partition("+")[0]
