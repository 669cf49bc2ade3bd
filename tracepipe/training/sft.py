"""Full supervised fine-tuning with TRL, completion-only loss, on rows rendered by TracePipe."""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracepipe import progress
from tracepipe.engines.transformers import quieten
from tracepipe.study import Recipe
from tracepipe.training.render import Rendered, render

VERSION = "1"
_LOSS_READINGS = 30


def fine_tune(
    base: str, examples: Sequence[tuple[str, str]], recipe: Recipe, seed: int, output: Path, label: str
) -> list[float]:
    """Fine-tune a copy of `base` on (prompt, completion) pairs and save it as safetensors.

    Returns:
        The training loss, one mean per logging interval (about thirty).
    """
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
    from trl import SFTTrainer

    quieten()
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = [render(tokenizer, prompt, completion) for prompt, completion in examples]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16 if recipe.bf16 else torch.float32)
    steps = recipe.max_steps or math.ceil(recipe.epochs * len(rows) / recipe.batch_size)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SFTTrainer(
            model=model,
            args=_arguments(recipe, seed, steps, scratch),
            train_dataset=Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in rows]),
            processing_class=tokenizer,
            callbacks=[_progress_callback(label, steps)],
        )
        trainer.remove_callback(PrinterCallback)
        _assert_labels_kept(trainer, rows)
        trainer.train()
    trainer.model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def _arguments(recipe: Recipe, seed: int, steps: int, folder: str) -> Any:
    import torch
    from trl import SFTConfig

    return SFTConfig(
        output_dir=folder,
        seed=seed,
        data_seed=seed,
        max_steps=steps,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(recipe.warmup * steps),
        per_device_train_batch_size=recipe.micro_batch_size,
        gradient_accumulation_steps=recipe.batch_size // recipe.micro_batch_size,
        weight_decay=recipe.weight_decay,
        adam_beta2=recipe.adam_beta2,
        max_grad_norm=recipe.max_grad_norm,
        optim="adamw_torch_fused",
        # Rows arrive rendered and gated; a limit here could only hide a row that the gate let through.
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        train_sampling_strategy="group_by_length",
        bf16=recipe.bf16,
        activation_checkpointing=recipe.gradient_checkpointing,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        logging_steps=max(1, steps // _LOSS_READINGS),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _assert_labels_kept(trainer: Any, rows: Sequence[Rendered]) -> None:
    """Check on a real batch that the trainer's collator passes on the labels that the gates saw."""
    sample = list(range(min(8, len(rows))))
    batch = trainer.data_collator([trainer.train_dataset[index] for index in sample])
    for index, labels in zip(sample, batch["labels"].tolist(), strict=True):
        expected = rows[index].labels
        if labels[: len(expected)] != expected or any(label != -100 for label in labels[len(expected) :]):
            raise RuntimeError(
                f"the trainer changed the labels of row {index}; training would not learn what was gated"
            )


def _progress_callback(label: str, steps: int) -> Any:
    from transformers import TrainerCallback

    class Steps(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            progress.emit(label, 0, steps)

        def on_step_end(self, _: Any, state: Any, __: Any, **___: Any) -> None:
            progress.emit(label, state.global_step, steps)

    return Steps()
