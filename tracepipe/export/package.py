"""Write a table or a checkpoint with its card into a folder, and on an explicit wish push that folder to the hub."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tracepipe.checkpoints import Checkpoints
from tracepipe.export.cards import LINEAGE, dataset_card, lineage_json, model_card
from tracepipe.files import write_atomically
from tracepipe.lineage.history import ancestors
from tracepipe.spec import SpecError
from tracepipe.store import UNPARTITIONED, Event, Store
from tracepipe.study import Study
from tracepipe.target import Target

_TOKEN = "HF_TOKEN"  # noqa: S105 - the variable's name
CARD = "README.md"


def export_dataset(study: Study, target: Target | None, stores: Sequence[Store], asset: str, folder: Path) -> Event:
    """Write a table as `data/*.parquet`, with its card and its lineage.

    Args:
        study: The study.
        target: Whose table; None for a table of the study.
        stores: The open store and the withheld one.
        asset: The asset's name.
        folder: Where it goes; must not hold anything.

    Returns:
        The event of the version exported.

    Raises:
        SpecError: If there is no such table, or the folder is not empty.
    """
    partition = target.partition if target else UNPARTITIONED
    found = [(store, event) for store in stores if (event := store.current(asset, partition))]
    if not found:
        known = sorted({event.asset for event in _in_use(study, stores, partition)})
        raise SpecError(f"no table '{asset}' ({partition}); there are: {', '.join(known) or 'none'}")
    ((store, event),) = found
    _require_empty(folder)
    history = ancestors(stores, [event])
    (folder / "data").mkdir(parents=True)
    shutil.copyfile(store.root / event.path, folder / "data" / "train-00000-of-00001.parquet")
    write_atomically(folder / LINEAGE, lineage_json(history))
    write_atomically(folder / CARD, dataset_card(study, target, event, history, store.read_version(event)).encode())
    return event


def export_model(
    study: Study, target: Target | None, stores: Sequence[Store], checkpoints: Checkpoints, name: str, folder: Path
) -> Event:
    """Copy a checkpoint, with its card and its lineage.

    Args:
        study: The study.
        target: Whose student; None for an inverter.
        stores: The open store and the withheld one.
        checkpoints: Where it lies.
        name: Its id.
        folder: Where it goes; must not hold anything.

    Returns:
        The event of the table that names it.

    Raises:
        SpecError: If no table in use names it, its folder is gone, or the folder is not empty.
    """
    partition = target.partition if target else UNPARTITIONED
    for event in _in_use(study, stores, partition):
        if event.asset.partition("/")[0] not in ("student", "inverter"):
            continue
        rows = stores[0].read_version(event).filter(checkpoint_id=name)
        if rows.height and rows["dataset_hash"][0] is not None:
            break
    else:
        raise SpecError(
            f"no checkpoint '{name}' ({partition}) in study '{study.name}'; list them with: "
            "tracepipe lineage sql 'FROM models'"
        )
    checkpoints.manifest(name)
    _require_empty(folder)
    history = ancestors(stores, [event])
    scores = stores[0].current("comparison", partition) if target else None
    condition = event.asset.partition("/")[2]
    comparison = None if scores is None else stores[0].read_version(scores).filter(condition=condition)
    shutil.copytree(checkpoints.folder(name), folder, dirs_exist_ok=True)
    write_atomically(folder / LINEAGE, lineage_json(history))
    card = model_card(study, target, event, history, rows.row(0, named=True), comparison)
    write_atomically(folder / CARD, card.encode())
    return event


def _in_use(study: Study, stores: Sequence[Store], partition: str) -> list[Event]:
    """Return the events of all versions in use of a partition."""
    places = [(store, path) for store in stores for path in (store.root / "tables" / study.name).rglob("current.json")]
    found = [
        store.current(str(path.parents[1].relative_to(store.root / "tables" / study.name)), partition)
        for store, path in places
        if path.parent.name == partition
    ]
    return [event for event in found if event is not None]


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(f"{folder}: is there already; name a folder that is empty or not there")


def push(folder: Path, repository: str, kind: Literal["dataset", "model"], target: Target | None) -> str:
    """Send an exported folder to a private repository of the hub, creating it where it is not there.

    Returns:
        Its address.

    Raises:
        SpecError: If the target's terms do not permit it, there is no key in HF_TOKEN, the repository is public, or the
            hub refuses.
    """
    if target is not None and target.training_use != "permitted":
        raise SpecError(
            f"--push: target '{target.name}' declares training_use: {target.training_use}; what comes from it is not "
            f"published. The export lies in {folder}"
        )
    token = os.environ.get(_TOKEN)
    if not token:
        raise SpecError(f"--push: put the hub's key into the variable {_TOKEN}. The export lies in {folder}")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(token=token)
    try:
        address = api.create_repo(repository, repo_type=kind, private=True, exist_ok=True)
        if not api.repo_info(repository, repo_type=kind).private:
            raise SpecError(f"--push: {address} is there and public; make it private. The export lies in {folder}")
        api.upload_folder(repo_id=repository, folder_path=folder, repo_type=kind)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).replace(token, "(key)")
        raise SpecError(f"--push: the hub refuses: {reason}. The export lies in {folder}") from None
    return str(address)
