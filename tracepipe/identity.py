"""Row, request and content keys. Everything in TracePipe is joined by these, never by position or similarity."""

import hashlib
import json
import subprocess
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

_DIGITS = 24
_MODEL_FILES = ("config.json", "tokenizer.json", "chat_template.jinja")

Stamp = tuple[str, int, int]


def digest(value: Any) -> str:
    """Return 24 hex digits (96 bits) of the SHA-256 of a JSON value, independent of key order."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:_DIGITS]


def normalise(text: str) -> str:
    r"""Return the text as it is compared and hashed: NFC, `\n` line ends, no space around it."""
    return unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n").strip()


def prompt_id(text: str) -> str:
    """Return the identity of a prompt: a hash of its normalised text."""
    return "p_" + digest(normalise(text))


def request_key(*, endpoint: str, base_url: str, model: str, body: dict[str, Any], draw: int = 0) -> str:
    """Return the identity of one model call.

    Args:
        endpoint: The kind of call, such as `responses` or `transformers`.
        base_url: Where the model is reached; empty for a local checkpoint.
        model: Model name and revision, or a checkpoint's weights id.
        body: The whole request: messages, sampling and reasoning options, prompt-template version.
            Transport settings (timeouts, concurrency, keys) stay out.
        draw: Number of the sample, where one request is drawn more than once.
    """
    return "r_" + digest({"endpoint": endpoint, "base_url": base_url, "model": model, "body": body, "draw": draw})


def frame_hash(frame: pl.DataFrame) -> str:
    """Return a content hash of a frame: column names, types, and rows in their order."""
    schema = {name: str(dtype) for name, dtype in frame.schema.items()}
    rows = hashlib.sha256()
    for batch in frame.iter_slices(50_000):
        rows.update(batch.write_ndjson().encode())
    return digest({"schema": schema, "rows": rows.hexdigest()})


def weights_id(model: str) -> str:
    """Return the identity of model weights.

    A local directory is identified by the content of its weights, configuration and tokenizer, so
    that it may be moved; anything else is taken as a hub id and identified by that name.
    """
    path = Path(model)
    if not path.is_dir():
        return "hub_" + digest(model)
    files = [file for file in path.iterdir() if file.suffix == ".safetensors" or file.name in _MODEL_FILES]
    return "w_" + _hash_files(tuple(stamp(file) for file in sorted(files)))


@cache
def _hash_files(stamps: tuple[Stamp, ...]) -> str:
    """Hash names and contents; a file is read once per process as long as it does not change."""
    content = hashlib.sha256()
    for path, _, _ in stamps:
        content.update(Path(path).name.encode() + b"\0")
        with Path(path).open("rb") as stream:
            content.update(hashlib.file_digest(stream, "sha256").digest())
    return content.hexdigest()[:_DIGITS]


def stamp(path: Path) -> Stamp:
    """Return path, size and time of change of a file: enough to notice that it is another one."""
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


def data_stamps(place: str) -> list[Stamp] | str:
    """Return the stamps of a data file or of all files of a folder; a hub id stands for itself."""
    path = Path(place)
    if path.is_file():
        return [stamp(path)]
    return [stamp(file) for file in sorted(path.rglob("*")) if file.is_file()] if path.is_dir() else place


@cache
def code_commit() -> str | None:
    """Return the git commit of this code, with `-dirty` behind it where tracked files differ; None outside git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
