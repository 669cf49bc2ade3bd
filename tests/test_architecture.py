"""The house: imports point one way, heavy libraries stay out of the code location."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tracepipe.home import CHECKOUT

FORBIDDEN = {
    "tracepipe": {"dagster", "assets", "resources"},
    "resources": {"assets"},
    "assets": set(),
}
ROOT = CHECKOUT / "tracepipe" / "definitions.py"


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_from_assets_to_resources_to_tracepipe(package: str):
    files = [path for path in (CHECKOUT / package).rglob("*.py") if path != ROOT]
    assert files
    wrong = {str(path): sorted(imported(path) & FORBIDDEN[package]) for path in files}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_the_code_location_loads_within_three_seconds_and_without_heavy_libraries():
    program = (
        "import sys, time; from tracepipe.definitions import defs; defs();"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'openai'} & set(sys.modules);"
        "print(sorted(heavy), time.process_time())"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    heavy, seconds = output.rsplit(" ", 1)
    assert heavy == "[]"
    assert float(seconds) < 3


def test_no_file_of_the_packages_outgrows_a_few_screens():
    lines = {path: len(path.read_text().splitlines()) for path in (CHECKOUT / "tracepipe").rglob("*.py")}
    assert {str(path): count for path, count in lines.items() if count > 350} == {}
