"""Reading what users write: YAML into pydantic models, with errors that name file, key and what is allowed."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
AnySpec = TypeVar("AnySpec", bound="Spec")


class SpecError(ValueError):
    """A study or target file that cannot be used; the message names file, key and what is allowed."""


class Spec(BaseModel):
    """Base of everything a user writes: unknown keys are refused, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def load_spec(kind: type[AnySpec], path: Path, **overrides: Any) -> AnySpec:
    """Read a YAML file into a specification.

    Args:
        kind: The pydantic model to read.
        path: The YAML file; relative paths inside it are taken relative to its folder.
        overrides: Top-level keys to replace.

    Raises:
        SpecError: If the file is missing, is not YAML, or does not fit; names the file and the key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise SpecError(f"{path}: expected a mapping of keys, found {type(content).__name__}")
    try:
        return kind.model_validate({**content, **overrides}, context={"folder": path.resolve().parent})
    except ValidationError as error:
        raise SpecError(explain(path, kind, error)) from None


def explain(path: Path, kind: type[BaseModel], error: ValidationError) -> str:
    """Say what is wrong with a file: one line per key, and what is allowed there; values are not repeated."""
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        key = ".".join(str(part) for part in problem["loc"]) or "(top level)"
        message = f"{path}: {key}: {problem['msg']}"
        if problem["type"] == "extra_forbidden":
            message = f"{path}: {key}: unknown key; allowed here: {', '.join(_allowed(kind, problem['loc'][:-1]))}"
        lines.append(message)
    return "\n".join(lines)


def _allowed(kind: type[BaseModel], parents: tuple[int | str, ...]) -> list[str]:
    """The keys of the model found by following `parents` through nested models and tagged unions."""
    models: list[type[BaseModel]] = [kind]
    for part in parents:
        nested = [found for model in models for found in _models_at(model, str(part))]
        tagged = [model for model in models if _is_tagged(model, str(part))]
        models = nested or tagged or models
    return sorted({name for model in models for name in model.model_fields})


def _models_at(model: type[BaseModel], key: str) -> list[type[BaseModel]]:
    field = model.model_fields.get(key)
    return _models_in(field.annotation) if field else []


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


def _is_tagged(model: type[BaseModel], tag: str) -> bool:
    field = model.model_fields.get("kind")
    return field is not None and tag in getattr(field.annotation, "__args__", ())


_DATA_ENDINGS = (".jsonl", ".json", ".parquet")


def resolve_data(value: str, info: ValidationInfo) -> str:
    """Resolve a data file against the specification's folder; what is plainly no path is taken as a hub id.

    Raises:
        ValueError: If it is a path and there is nothing.
    """
    folder: Path = (info.context or {}).get("folder", Path.cwd())
    resolved = (folder / value).resolve()
    if resolved.exists():
        return str(resolved)
    if value.startswith(("./", "../", "/")) or value.endswith(_DATA_ENDINGS):
        raise ValueError(f"{resolved}: there is no such file")
    return value


def resolve_path(value: str, info: ValidationInfo) -> str:
    """Resolve `./`, `../` and `/` paths against the file's folder; leave hub ids alone."""
    if not value.startswith(("./", "../", "/")):
        return value
    folder: Path = (info.context or {}).get("folder", Path.cwd())
    return str((folder / value).resolve())
