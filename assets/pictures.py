"""Pictures of tables, for the metadata of their assets."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from assets.metadata import picture_metadata
from tracepipe.report.plots import accuracy_plot, difference_plot, length_plot, loss_plot, png


def loss_picture(checkpoints: pl.DataFrame) -> Mapping[str, Any]:
    """Draw the training loss of every checkpoint that was trained (CHECKPOINTS)."""
    curves = checkpoints.select("seed", "losses").iter_rows()
    trained = {f"seed {seed}": losses for seed, losses in curves if losses}
    return {"training loss": picture_metadata(png(loss_plot(trained)), "training loss")} if trained else {}


def length_picture(fidelity: pl.DataFrame) -> Mapping[str, Any]:
    """Draw the lengths of real and inverted traces (TRACE_FIDELITY)."""
    lengths = {"real": fidelity.filter(inverter="trained")["reference_tokens"].to_list()}
    for inverter in ("trained", "zero_shot"):
        lengths[inverter] = fidelity.filter(inverter=inverter)["synthesized_tokens"].to_list()
    return {"trace lengths": picture_metadata(png(length_plot(lengths)), "trace lengths")}


def accuracy_picture(comparison: pl.DataFrame) -> Mapping[str, Any]:
    """Draw the comparison (COMPARISON)."""
    return {"accuracy": picture_metadata(png(accuracy_plot(comparison)), "accuracy with intervals")}


def difference_picture(differences: pl.DataFrame) -> Mapping[str, Any]:
    """Draw the differences of pairs of conditions (DIFFERENCES)."""
    return {"differences": picture_metadata(png(difference_plot(differences)), "differences with intervals")}
