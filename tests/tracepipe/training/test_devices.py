"""Training as it is really run: packed, by several processes, killed, with adapters, with validation."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.families import checkpoint, tokenizer
from tracepipe.checkpoints import Checkpoints, Manifest
from tracepipe.files import write_parquet
from tracepipe.identity import weights_id
from tracepipe.launching import command_for, launcher
from tracepipe.placement import Strategy, Training
from tracepipe.steps import TrainSpec
from tracepipe.text import reasoned
from tracepipe.training.recipe import Lora, Recipe
from tracepipe.training.render import render
from tracepipe.training.sft import _Collator, _held_out
from tracepipe.training.weights import changed_share
from tracepipe.worker import run

RECIPE = Recipe(max_steps=6, batch_size=4, learning_rate=0.01, max_length=160, bf16=False, gradient_checkpointing=False)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint("qwen2.5", tmp_path_factory.mktemp("base"))


def rows() -> list[dict[str, object]]:
    """Twelve examples of very different lengths."""
    traces = [" ".join(f"we add {step}" for step in range(1 + number * number % 9)) for number in range(12)]
    return [
        {"prompt": f"What is 2 + {n}?", "completion": reasoned(t, str(2 + n)), "phase": 0} for n, t in enumerate(traces)
    ]


@pytest.fixture
def spec(base: Path, tmp_path: Path) -> Callable[..., TrainSpec]:
    import polars as pl

    def make(place: str, recipe: Recipe = RECIPE, **training: Any) -> TrainSpec:
        examples = tmp_path / "examples.parquet"
        write_parquet(pl.DataFrame(rows()), examples)
        return TrainSpec(
            label="train",
            role="student/oracle",
            base=str(base),
            base_weights=weights_id(str(base)),
            examples=str(examples),
            dataset_hash="d",
            recipe=recipe,
            seed=1,
            thinking=None,
            code_version="1",
            checkpoints=str(tmp_path / place),
            training=Training(**training),
        )

    return make


def trained(spec: TrainSpec) -> Manifest:
    return Checkpoints(Path(spec.checkpoints)).manifest(spec.checkpoint_id)


def launch(spec: TrainSpec, folder: Path) -> "subprocess.Popen[bytes]":
    place = folder / f"{Path(spec.checkpoints).name}.json"
    place.write_text(spec.model_dump_json())
    command = command_for(spec, sys.executable, str(place), threads=1, gpu=False)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder)


def weights(spec: TrainSpec) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(Path(spec.checkpoints) / spec.checkpoint_id).state_dict()


def test_packed_examples_see_nothing_of_each_other(base: Path):
    """The loss of examples that share a forward pass is that of each alone, whatever stands beside it."""
    own = tokenizer("qwen2.5")
    rendered = [render(own, row["prompt"], row["completion"]) for row in rows()]
    model = AutoModelForCausalLM.from_pretrained(base)
    model.config.use_cache = False

    def log_likelihoods(forward: list[int], packed: bool) -> torch.Tensor:
        batch = _Collator(own, rendered, packed=packed)([{"rows": forward}])
        labels = batch.pop("labels")
        with torch.no_grad():
            logits = model(**batch).logits[:, :-1].log_softmax(-1)
        kept = labels[:, 1:] != -100
        return logits.gather(-1, labels[:, 1:].clamp(min=0)[..., None])[..., 0][kept]

    together = log_likelihoods([3, 5, 7, 2], packed=True)
    alone = torch.cat([log_likelihoods([index], packed=False) for index in (3, 5, 7, 2)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_a_packed_and_a_padded_step_over_the_same_examples_learn_the_same(spec: Callable[..., TrainSpec]):
    whole = RECIPE.model_copy(update={"batch_size": 12, "max_steps": 1, "warmup": 0.0, "weight_decay": 0.1})
    padded, packed = spec("padded", whole), spec("packed", whole.model_copy(update={"packing": True}))
    run(padded)
    run(packed)
    assert trained(packed).losses == pytest.approx(trained(padded).losses, rel=1e-5)
    learnt = weights(padded)
    assert max(float((tensor - learnt[name]).abs().max()) for name, tensor in weights(packed).items()) < 1e-3


@pytest.mark.parametrize("packing", [False, True])
def test_two_processes_follow_one_with_the_same_effective_batch(
    spec: Callable[..., TrainSpec], tmp_path: Path, packing: bool
):
    recipe = RECIPE.model_copy(update={"packing": packing})
    one, two = spec("one", recipe), spec("two", recipe, devices=2)
    assert one.checkpoint_id == two.checkpoint_id
    run(one)
    pair = launch(two, tmp_path)
    printed, errors = pair.communicate(timeout=240)
    assert pair.returncode == 0, errors.decode()[-3000:]
    assert json.loads(printed.splitlines()[-1])["devices"] == 2
    assert trained(two).losses == pytest.approx(trained(one).losses, rel=1e-3)
    assert len(trained(one).losses) == 6
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, atol=2e-3, rtol=0)


def test_a_killed_training_goes_on_to_the_same_weights(spec: Callable[..., TrainSpec], tmp_path: Path):
    recipe = RECIPE.model_copy(update={"max_steps": 400})
    unbroken, broken = spec("unbroken", recipe), spec("broken", recipe)
    run(unbroken)
    scratch = Checkpoints(Path(broken.checkpoints)).scratch(broken.checkpoint_id)
    first = launch(broken, tmp_path)
    deadline = time.monotonic() + 120
    while not list(scratch.glob("checkpoint-*/complete")):
        assert time.monotonic() < deadline, "no state was saved"
        assert first.poll() is None, first.communicate()[1].decode()[-3000:]
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (Path(broken.checkpoints) / broken.checkpoint_id).exists()
    # Two, where it died between saving a state and removing the one before.
    saved = [int(path.parent.name.rpartition("-")[2]) for path in scratch.glob("checkpoint-*/complete")]
    assert 0 < max(saved) < 400
    second = launch(broken, tmp_path)
    _, errors = second.communicate(timeout=240)
    assert second.returncode == 0, errors.decode()[-3000:]
    assert trained(broken).weights == trained(unbroken).weights
    assert trained(broken).losses == trained(unbroken).losses
    assert not scratch.exists()


def test_a_half_written_state_is_not_gone_on_from(spec: Callable[..., TrainSpec]):
    wanted = spec("here")
    scratch = Checkpoints(Path(wanted.checkpoints)).scratch(wanted.checkpoint_id)
    (scratch / "checkpoint-3").mkdir(parents=True)
    (scratch / "checkpoint-3" / "trainer_state.json").write_text("{")
    run(wanted)
    assert len(trained(wanted).losses) == 6


def test_an_adapter_is_merged_and_the_proof_is_in_the_weights(spec: Callable[..., TrainSpec], base: Path):
    wanted = spec("lora", RECIPE.model_copy(update={"lora": Lora(rank=4, alpha=8)}))
    run(wanted)
    found = trained(wanted)
    folder = Path(wanted.checkpoints) / wanted.checkpoint_id
    assert not list(folder.glob("adapter*"))
    # The projections have changed; embeddings and norms are the base's.
    assert 0.3 < found.changed < 0.8
    assert found.failed_gates() == []
    assert AutoModelForCausalLM.from_pretrained(folder).config.use_cache


def test_a_merge_that_changed_nothing_fails_its_gate(base: Path, tmp_path: Path):
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(tmp_path)
    assert changed_share(str(base), tmp_path) == 0.0
    renamed = {
        f"base_model.{name}": tensor for name, tensor in AutoModelForCausalLM.from_pretrained(base).state_dict().items()
    }

    save_file({name: tensor + 1 for name, tensor in renamed.items()}, tmp_path / "model.safetensors")
    assert changed_share(str(base), tmp_path) == 0.0


def test_the_checkpoint_with_the_lowest_validation_loss_is_kept(spec: Callable[..., TrainSpec], base: Path):
    # A rate that first learns and then tears the model apart: the last state is not the best one.
    wild = RECIPE.model_copy(update={"max_steps": 24, "learning_rate": 0.3, "validation": 0.25, "validations": 8})
    wanted = spec("validated", wild)
    run(wanted)
    losses = trained(wanted).validation_losses
    assert len(losses) == 8
    assert min(losses) < losses[-1]
    own = AutoTokenizer.from_pretrained(base)
    rendered = [render(own, row["prompt"], row["completion"]) for row in rows()]
    held = [rendered[index] for index in _held_out(rendered, wild)]
    assert len(held) == 3
    model = AutoModelForCausalLM.from_pretrained(Path(wanted.checkpoints) / wanted.checkpoint_id)
    with torch.no_grad():
        kept = [float(model(torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss) for row in held]
    assert sum(kept) / len(kept) == pytest.approx(min(losses), rel=1e-3)


def test_curves_go_to_tensorboard_on_request(spec: Callable[..., TrainSpec], tmp_path: Path):
    wanted = spec("checkpoints", report_to=["tensorboard"])
    run(wanted)
    assert list((Path(wanted.checkpoints).parent / "curves" / wanted.checkpoint_id).rglob("events.out.tfevents.*"))


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", "deepspeed_zero3"])
def test_a_shipped_configuration_is_one_that_accelerate_takes(strategy: Strategy):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    module, *options = launcher(strategy, 8, gpu=True)
    assert module == "accelerate.commands.launch"
    arguments = launch_command_parser().parse_args([*options, "-m", "tracepipe.worker", "spec.json"])
    loaded = load_config_from_file(arguments.config_file)
    arguments, _, _ = _validate_launch_command(arguments)
    assert arguments.num_processes == 8
    assert arguments.use_fsdp == (strategy == "fsdp2")
    assert arguments.use_deepspeed == (strategy == "deepspeed_zero3")
    if strategy == "fsdp2":
        assert int(arguments.fsdp_version) == 2
        assert arguments.fsdp_state_dict_type == "FULL_STATE_DICT"
    if strategy == "deepspeed_zero3":
        assert int(arguments.zero_stage) == 3
        assert str(arguments.zero3_save_16bit_model).lower() == "true"
    assert loaded.num_processes == 8


def test_fsdp2_is_configured_as_accelerate_reads_it(monkeypatch: pytest.MonkeyPatch):
    """What the launcher hands to the training processes makes the plugin that the trainer will use."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.launch import prepare_multi_gpu_env

    _, *options = launcher("fsdp2", 8, gpu=True)
    arguments = launch_command_parser().parse_args([*options, "-m", "tracepipe.worker", "spec.json"])
    arguments, _, _ = _validate_launch_command(arguments)
    for name, value in prepare_multi_gpu_env(arguments).items():
        if name.startswith(("FSDP", "ACCELERATE")):
            monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert os.environ["FSDP_AUTO_WRAP_POLICY"] == "TRANSFORMER_BASED_WRAP"


def test_weights_are_not_spread_over_processes_without_gpus():
    with pytest.raises(ValueError, match="strategy fsdp2 needs GPUs"):
        launcher("fsdp2", 2, gpu=False)


def test_a_step_reports_what_it_did(spec: Callable[..., TrainSpec], tmp_path: Path):
    place = tmp_path / "spec.json"
    place.write_text(spec("reported").model_dump_json())
    printed = subprocess.run(
        [sys.executable, "-m", "tracepipe.worker", str(place)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert any(line.startswith("train: 6 of 6") for line in printed)
    figures = json.loads(printed[-1])
    assert (figures["label"], figures["examples"]) == ("train", 12)
