"""Files that are there whole or not at all: written under a temporary name, flushed, and moved into place."""

import os
import uuid
from pathlib import Path

import polars as pl


def temporary_beside(path: Path) -> Path:
    """Return a name for a file in the making, in the folder where it will lie; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    temporary = temporary_beside(path)
    with temporary.open("wb") as stream:
        stream.write(content)
    move_into_place(temporary, path)


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write a Parquet file so that a crash leaves the old one or the new one."""
    temporary = temporary_beside(path)
    frame.write_parquet(temporary)
    move_into_place(temporary, path)


def move_into_place(temporary: Path, path: Path) -> None:
    """Flush a finished file or folder to disk and give it its name."""
    for file in temporary.rglob("*") if temporary.is_dir() else [temporary]:
        if file.is_file():
            _flush(file)
    temporary.replace(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
