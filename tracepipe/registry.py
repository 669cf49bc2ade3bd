"""The known targets: one file each in a folder, found by partition key."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tracepipe.files import write_atomically
from tracepipe.identity import digest
from tracepipe.spec import SpecError, explain, load_spec
from tracepipe.target import Target

_LONGEST_NAME = 48


def load_target(path: Path) -> Target:
    """Read a target file.

    Raises:
        SpecError: See `load_spec`.
    """
    return load_spec(Target, path)


def load_targets(folder: Path) -> dict[str, Path]:
    """Find the target files of a folder.

    Returns:
        Name to path, sorted by name.

    Raises:
        SpecError: If a file does not fit, or two files claim one name.
    """
    found, problems = survey(folder)
    if problems:
        raise SpecError("\n".join(problems.values()))
    return found


def survey(folder: Path) -> tuple[dict[str, Path], dict[Path, str]]:
    """Find the target files of a folder, good and bad.

    Returns:
        Name to path, sorted by name; and path to problem, for files that do not fit or claim a taken name.
    """
    found: dict[str, Path] = {}
    problems: dict[Path, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            name = load_target(path).name
        except SpecError as error:
            problems[path] = str(error)
            continue
        if name in found:
            problems[path] = f"{path}: name: '{name}' is taken by {found[name]}; a target's name is its partition key"
        else:
            found[name] = path
    return dict(sorted(found.items())), problems


def find_target(folder: Path, key: str) -> tuple[Target, Path]:
    """Return the target of a partition key, `name` or `name@YYYY-MM-DD`, and its file.

    Raises:
        SpecError: If there is none; names those there are, and the files that cannot be read.
    """
    name, _, dated = key.partition("@")
    found, problems = survey(folder)
    if name not in found:
        known = f"{folder}: no target is named '{name}'; there are: {', '.join(found) or 'none'}"
        raise SpecError("\n".join([known, *problems.values()]))
    target = load_target(found[name])
    return (target.model_copy(update={"revision": _date(key, dated)}) if dated else target), found[name]


def _date(key: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SpecError(f"target '{key}': behind the @ stands the date of a revision, as 2026-11-23") from None


def name_for(model: str) -> str:
    """Return a name for a model that is fit as a partition key, and different for different models.

    A model name of small letters, digits, dots, dashes and underscores stands for itself; from any other
    the rest is taken out, and a short hash of the whole is added.
    """
    slug = re.sub(r"[^a-z0-9._-]+", "-", model.lower()).strip("-._")[:_LONGEST_NAME]
    return model if slug == model else f"{slug or 'target'}-{digest(model)[:6]}"


def add_target(folder: Path, content: dict[str, Any]) -> Path:
    """Write a new target file, named after its target.

    Raises:
        SpecError: If the content does not fit, or the name is taken; nothing is written.
    """
    path = folder / f"{content['name']}.yaml"
    try:
        target = Target.model_validate(content)
    except ValidationError as error:
        raise SpecError(explain(path, Target, error)) from None
    taken = load_targets(folder).get(target.name, path)
    if taken.exists():
        raise SpecError(f"{taken}: target '{target.name}' is there already; edit its file, or give another --name")
    write_atomically(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())
    return path
