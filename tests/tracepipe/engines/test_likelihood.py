"""Log probabilities of given texts: batched, padded and in pieces they are what the model says of each text alone."""

from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import MODELS
from tests.families import FAMILIES, checkpoint
from tracepipe.engines import likelihood
from tracepipe.training.render import IGNORED, render

FOLDER = str(MODELS / "target")
TEXTS = {
    "true": ("problem start 1 A +1 B *4", "<think> A +1 2 B *4 8 </think> B \\boxed{ 8 }"),
    "false": ("problem start 1 A +1 B *4", "<think> A +1 2 B *4 5 </think> B \\boxed{ 5 }"),
    "longer": ("problem start 1 A +1 B *4 C -1 D *2", "<think> A +1 2 B *4 8 C -1 7 D *2 3 </think> D \\boxed{ 3 }"),
}


@pytest.fixture
def rows() -> pl.DataFrame:
    texts = [{"id": name, "prompt": prompt, "completion": text} for name, (prompt, text) in TEXTS.items()]
    return pl.DataFrame(texts)


def alone(prompt: str, completion: str, folder: str = FOLDER) -> tuple[int, float]:
    """The same by the model's own loss, one text at a time."""
    row = render(AutoTokenizer.from_pretrained(folder), prompt, completion)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor([row.input_ids])
    with torch.inference_mode():
        loss = model(input_ids=ids, labels=torch.tensor([row.labels])).loss
    count = sum(label != IGNORED for label in row.labels)
    return count, -float(loss) * count


@pytest.mark.parametrize("limits", [{}, {"_TOKENS_AT_ONCE": 1, "_LOGITS_AT_ONCE": 3}])
def test_likelihoods_are_those_of_each_text_alone(
    rows: pl.DataFrame, limits: dict[str, int], monkeypatch: pytest.MonkeyPatch
):
    for name, limit in limits.items():
        monkeypatch.setattr(likelihood, name, limit)
    found = {one["id"]: one for one in likelihood.likelihoods(FOLDER, rows, None)}
    assert set(found) == set(TEXTS)
    for name, texts in TEXTS.items():
        tokens, expected = alone(*texts)
        assert found[name]["tokens"] == tokens
        assert found[name]["log_likelihood"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_architecture_and_template_is_measured(family: str, tmp_path: Path):
    folder = str(checkpoint(family, tmp_path / family))
    prompt, completion = "What is 2 + 2?", "<think> First we add. </think> 4"
    rows = pl.DataFrame([{"id": "one", "prompt": prompt, "completion": completion}])
    (found,) = likelihood.likelihoods(folder, rows, None)
    assert (found["tokens"], found["log_likelihood"]) == (
        alone(prompt, completion, folder)[0],
        pytest.approx(alone(prompt, completion, folder)[1], abs=1e-3),
    )


def test_a_model_that_knows_finds_a_false_step_unlikely(rows: pl.DataFrame):
    found = {one["id"]: one["log_likelihood"] for one in likelihood.likelihoods(FOLDER, rows, None)}
    assert found["false"] < found["true"] - 3
