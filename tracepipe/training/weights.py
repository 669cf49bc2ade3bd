"""Saved weights: bringing a trained model into the form it is served in, and proof that training changed it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def finish(base: str, trained: Path, output: Path, *, adapter: bool) -> None:
    """Write a trained model as one checkpoint in its base's own type; an adapter is merged into the base.

    Args:
        base: Folder or hub id that was trained from.
        trained: What the trainer saved: a whole model, or an adapter.
        output: The folder to fill.
        adapter: Whether it is an adapter.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    dtype = AutoConfig.from_pretrained(base).dtype or "auto"
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=dtype), trained)
        model = model.merge_and_unload()
    else:
        model = AutoModelForCausalLM.from_pretrained(trained, dtype=dtype)
    model.config.use_cache = True
    model.save_pretrained(output)


def changed_share(base: str, output: Path) -> float:
    """Return the share of the base's tensors that differ in a checkpoint, by value.

    A checkpoint that lacks the base's tensors, or has them under other names, has changed nothing: 0.
    """
    before, after = _tensors(base), _tensors(str(output))
    shared = before.keys() & after.keys()
    changed = sum(not _equal(before[name], after[name], name) for name in shared)
    return changed / len(before) if before else 0.0


def _equal(one: Path, other: Path, name: str) -> bool:
    left, right = _read(one, name), _read(other, name)
    return bool(left.shape == right.shape and (left == right).all())


def _read(file: Path, name: str) -> Any:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return opened.get_tensor(name)


def _tensors(model: str) -> dict[str, Path]:
    """Return tensor name to the safetensors file that holds it."""
    return {name: file for file in _files(model) for name in _names(file)}


def _names(file: Path) -> Iterator[str]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        yield from opened.keys()


def _files(model: str) -> list[Path]:
    folder = Path(model)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(model, local_files_only=True))
    return sorted(folder.glob("*.safetensors"))
