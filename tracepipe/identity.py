"""Row, request and content keys. Everything in TracePipe is joined by these, never by position or similarity."""

import hashlib
import json
import unicodedata
from pathlib import Path
from typing import Any

import polars as pl

_DIGITS = 24


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
    content = hashlib.sha256()
    for file in sorted(path.glob("*")):
        if file.suffix == ".safetensors" or file.name in ("config.json", "tokenizer.json", "chat_template.jinja"):
            content.update(file.name.encode() + b"\0")
            with file.open("rb") as stream:
                content.update(hashlib.file_digest(stream, "sha256").digest())
    return "w_" + content.hexdigest()[:_DIGITS]
