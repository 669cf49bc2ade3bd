"""Supervised fine-tuning with TRL, completion-only loss, on rows rendered by TracePipe and dealt out by a plan.

TRL brings the loss in chunks of the vocabulary (its fused head), LoRA through PEFT, and `accelerate` for several
devices. One process of several is the one that writes.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracepipe import progress
from tracepipe.engines.transformers import quieten
from tracepipe.identity import digest
from tracepipe.training.plan import Forward, Plan, plan, validation_forwards
from tracepipe.training.recipe import Recipe
from tracepipe.training.render import IGNORED, Rendered, render
from tracepipe.training.weights import finish

VERSION = "2"
SAVES = 4
"""How often a training's state is put on disk."""
_LOSS_READINGS = 30
_COMPLETE = "complete"


@dataclass(frozen=True)
class Run:
    """Where a training works: nothing of it decides the weights.

    Attributes:
        scratch: Folder for states from which a killed training goes on.
        curves: Folder for the files of loggers.
        report_to: Loggers of curves besides ours.
    """

    scratch: Path
    curves: Path
    report_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class Losses:
    """The training loss, one mean per logging interval (about thirty), and the loss on held-out examples."""

    training: list[float]
    validation: list[float]


def rank() -> int:
    """Return the number of this process among those that train together; 0 is the one that writes."""
    return int(os.environ.get("RANK", "0"))


def devices() -> int:
    """Return the number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def fine_tune(
    base: str,
    examples: Sequence[tuple[str, str]],
    recipe: Recipe,
    seed: int,
    output: Path,
    label: str,
    run: Run,
    thinking: bool | None = None,
    phases: Sequence[int] = (),
) -> Losses:
    """Fine-tune a copy of `base` on (prompt, completion) pairs and save it as safetensors.

    Args:
        base: Folder or hub id.
        examples: What to learn.
        recipe: How.
        seed: Order of the examples, adapter's first weights, dropout.
        output: The folder to fill; only process 0 does.
        label: What progress calls this.
        run: Where it works; a training killed there goes on from its last saved state.
        thinking: Whether the template's think block is switched on or off; None where it has no switch.
        phases: Of each example; those of a phase are learnt before those of the next. None: one phase.

    Returns:
        Losses on what was learnt and on what was held out.
    """
    quieten()
    # Loggers take their folder from the environment alone.
    os.environ |= {"TENSORBOARD_LOGGING_DIR": str(run.curves), "TRACKIO_DIR": str(run.curves)}
    tokenizer = _tokenizer(base)
    rows = [render(tokenizer, prompt, completion, thinking) for prompt, completion in examples]
    held = _held_out(rows, recipe)
    learnt = [row for index, row in enumerate(rows) if index not in held]
    of_learnt = [phase for index, phase in enumerate(phases) if index not in held]
    planned = plan([len(row.input_ids) for row in learnt], recipe, seed, devices(), of_learnt)
    trainer = build_trainer(
        base, tokenizer, recipe, seed, planned, learnt, [rows[index] for index in sorted(held)], run
    )
    trainer.add_callback(_progress_callback(label, planned))
    trainer.add_callback(_mark_complete(planned))
    _assert_labels_kept(trainer, learnt, planned)
    trainer.train(resume_from_checkpoint=_last_state(run.scratch, planned))
    trained = run.scratch / "trained"
    trainer.save_model(str(trained))
    if rank() == 0:
        finish(base, trained, output, adapter=recipe.lora is not None)
        tokenizer.save_pretrained(output)
    history = trainer.state.log_history
    return Losses(*([entry[name] for entry in history if name in entry] for name in ("loss", "eval_loss")))


def _tokenizer(base: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base)


def _held_out(rows: Sequence[Rendered], recipe: Recipe) -> set[int]:
    """Choose the validation rows by content, so that they do not depend on the order of the examples."""
    if not recipe.validation:
        return set()
    count = max(1, round(recipe.validation * len(rows)))
    by_content = sorted(range(len(rows)), key=lambda index: digest(rows[index].input_ids))
    return set(by_content[:count])


def build_trainer(
    base: str,
    tokenizer: Any,
    recipe: Recipe,
    seed: int,
    planned: Plan,
    learnt: Sequence[Rendered],
    held: Sequence[Rendered],
    run: Run,
) -> Any:
    """Return TRL's trainer over planned forward passes.

    Args:
        base: Folder or hub id.
        tokenizer: The model's.
        recipe: How to learn.
        seed: Of adapters and dropout.
        planned: Which of `learnt` share forward passes and steps.
        learnt: The rows to learn from.
        held: The rows to measure a loss on; none where the recipe validates nothing.
        run: Where it works.
    """
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, PrinterCallback
    from trl import SFTTrainer

    kept = torch.float32 if recipe.weights == "float32" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(base, dtype=kept, attn_implementation=recipe.attention)
    model.config.use_cache = False  # documents packed together are kept apart only without it
    forwards = validation_forwards([len(row.input_ids) for row in held], recipe)
    everything = [*learnt, *held]
    trainer = SFTTrainer(
        model=model,
        args=_arguments(recipe, seed, planned, run),
        train_dataset=Dataset.from_dict({"rows": planned.forwards}),
        eval_dataset=_shifted(forwards, len(learnt)) if held else None,
        data_collator=_Collator(tokenizer, everything, packed=recipe.packing),
        processing_class=tokenizer,
        peft_config=_lora(recipe),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _shifted(forwards: Sequence[Forward], by: int) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"rows": [[by + index for index in forward] for forward in forwards]})


def _lora(recipe: Recipe) -> Any:
    if recipe.lora is None:
        return None
    from peft import LoraConfig

    lora = recipe.lora
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    return LoraConfig(
        task_type="CAUSAL_LM", r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets
    )


class _Collator:
    """Turns one planned forward pass into tensors, by TRL's own collator."""

    def __init__(self, tokenizer: Any, rows: Sequence[Rendered], *, packed: bool) -> None:
        from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

        padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        self._collate = DataCollatorForLanguageModeling(pad_token_id=padding, padding_free=packed)
        self._rows = rows
        # A device without examples in a round still takes part in it, and learns nothing.
        self._nothing = Rendered(rows[0].input_ids[:2], [IGNORED] * 2)

    def __call__(self, forwards: list[dict[str, Forward]]) -> Any:
        (forward,) = forwards
        rows = [self._rows[index] for index in forward["rows"]] or [self._nothing]
        return self._collate([{"input_ids": row.input_ids, "labels": row.labels} for row in rows])


def _arguments(recipe: Recipe, seed: int, planned: Plan, run: Run) -> Any:
    import torch
    from trl import SFTConfig

    steps = planned.steps
    logged = max(1, steps // _LOSS_READINGS)
    # A state is saved where a mean of the loss has just been logged, so that none is lost with a killed training.
    saved = logged * max(1, round(steps / (recipe.validations if recipe.validation else SAVES) / logged))
    chosen = {
        "eval_strategy": "steps",
        "eval_steps": saved,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "save_total_limit": 2,
    }
    return SFTConfig(
        output_dir=str(run.scratch),
        seed=seed,
        data_seed=seed,
        max_steps=steps,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=-int(-recipe.warmup * steps // 1),
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=planned.accumulation,
        weight_decay=recipe.weight_decay,
        adam_beta2=recipe.adam_beta2,
        max_grad_norm=recipe.max_grad_norm,
        optim="adamw_torch_fused",
        # Rows arrive rendered, gated and planned: the trainer neither cuts, packs, drops nor shuffles them.
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        train_sampling_strategy="sequential",
        accelerator_config={"split_batches": False, "even_batches": True},
        bf16=recipe.bf16,
        activation_checkpointing=recipe.gradient_checkpointing,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        logging_steps=logged,
        save_strategy="steps",
        save_steps=saved,
        **(chosen if recipe.validation else {}),
        report_to=list(run.report_to) or "none",
        disable_tqdm=True,
    )


def _assert_labels_kept(trainer: Any, rows: Sequence[Rendered], planned: Plan) -> None:
    """Check on real forward passes that the collator passes on the labels that the gates saw, and nothing else."""
    for forward in planned.forwards[:4]:
        batch = trainer.data_collator([{"rows": forward}])
        found = [label for row in batch["labels"].tolist() for label in row if label != -100]
        expected = [label for index in forward for label in rows[index].labels if label != -100]
        if found != expected:
            raise RuntimeError(f"the collator changed the labels of rows {forward}; training would not learn them")


def _last_state(scratch: Path, planned: Plan) -> str | None:
    """Return the last state that was saved whole and by the same plan; others are removed."""
    states = _states(scratch)
    whole = [state for state in states if _plan_of(state) == planned.identity()]
    if rank() == 0:
        for state in states:
            if state not in whole:
                shutil.rmtree(state)
    return str(whole[-1]) if whole else None


def _states(scratch: Path) -> list[Path]:
    return sorted(scratch.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))


def _plan_of(state: Path) -> str | None:
    marker = state / _COMPLETE
    return marker.read_text(encoding="utf-8") if marker.exists() else None


def _mark_complete(planned: Plan) -> Any:
    from transformers import TrainerCallback

    class MarkComplete(TrainerCallback):  # type: ignore[misc]
        def on_save(self, args: Any, state: Any, _: Any, **__: Any) -> None:
            if rank() == 0:
                latest = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                (latest / _COMPLETE).write_text(planned.identity(), encoding="utf-8")
                for older in _states(Path(args.output_dir)):
                    if not args.load_best_model_at_end and older != latest:
                        shutil.rmtree(older)

    return MarkComplete()


def _progress_callback(label: str, planned: Plan) -> Any:
    from transformers import TrainerCallback

    class Steps(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            if rank() == 0:
                progress.emit(label, 0, planned.steps)

        def on_step_end(self, _: Any, state: Any, __: Any, **___: Any) -> None:
            if rank() == 0:
                progress.emit(label, state.global_step, planned.steps)

    return Steps()
