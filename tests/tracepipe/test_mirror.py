"""A home on S3: what is put there is whole, what is read is what was put, and the copy here can be lost at will."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import polars as pl
import pytest

from tests import s3
from tracepipe import mirror as mirrors
from tracepipe.checkpoints import Checkpoints, Manifest
from tracepipe.compute import InProcessCompute
from tracepipe.home import Home
from tracepipe.journal import Journal
from tracepipe.mirror import Conflict, Mirror, mirror_at, sha256
from tracepipe.spec import SpecError
from tracepipe.store import Making, Store


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with s3.serving():
        yield


@pytest.fixture
def place() -> str:
    return s3.new_place()


@pytest.fixture
def here(tmp_path: Path, place: str) -> Mirror:
    return mirror_at(tmp_path / "here", place)


def there(tmp_path: Path, place: str, name: str = "there") -> Mirror:
    """Another machine's copy."""
    return mirror_at(tmp_path / name, place)


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def making(key: str = "k") -> Making:
    return Making(
        asset="prompts", partition="all", stage="prompts", recipe_key=key, code_version="1", config_version="c",
        run_id="r", seconds=0.1,
    )  # fmt: skip


def test_what_one_machine_puts_another_reads(here: Mirror, tmp_path: Path, place: str):
    file = write(here.root / "open" / "tables" / "a.parquet", b"rows")
    here.push(file)
    other = there(tmp_path, place)
    assert other.pull(other.root / "open" / "tables" / "a.parquet")
    assert (other.root / "open" / "tables" / "a.parquet").read_bytes() == b"rows"
    assert not other.pull(other.root / "open" / "tables" / "b.parquet")
    assert [path.name for path in other.root.rglob("*") if path.is_file()] == ["a.parquet"]


def test_what_arrives_changed_is_refused_and_leaves_nothing(here: Mirror, tmp_path: Path, place: str):
    here.push(write(here.root / "a", b"rows"))
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(
        Bucket=bucket, Key=f"{prefix}/a", Body=b"rot", Metadata={"sha256": sha256(here.root / "a")}
    )
    other = there(tmp_path, place)
    with pytest.raises(RuntimeError, match="what came of 'team/home/a' is not what was put there"):
        other.pull(other.root / "a")
    assert not [path for path in other.root.rglob("*") if path.is_file()]


def test_a_large_file_goes_up_in_parts_and_an_upload_that_was_cut_off_goes_on(
    here: Mirror, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
):
    part = 5 * 2**20  # the least that S3 takes
    monkeypatch.setattr(mirrors, "PART_BYTES", part)
    content = b"".join(hashlib.sha256(bytes([number])).digest() * (part // 32) for number in range(4)) + b"end"
    file = write(here.root / "checkpoints" / "c_1" / "model.safetensors", content)
    sent: list[int] = []
    upload = here._client.upload_part

    def counted(**given: Any) -> Any:
        if len(sent) == 2:
            raise ConnectionError("cut off")
        sent.append(given["PartNumber"])
        return upload(**given)

    monkeypatch.setattr(here._client, "upload_part", counted)
    with pytest.raises(ConnectionError):
        here.push(file)
    assert not there(tmp_path, place).pull(tmp_path / "there" / "checkpoints" / "c_1" / "model.safetensors")
    monkeypatch.setattr(here._client, "upload_part", lambda **part: sent.append(part["PartNumber"]) or upload(**part))
    here.push(file)
    assert sent == [1, 2, 3, 4, 5]
    other = there(tmp_path, place)
    other.pull(other.root / "checkpoints" / "c_1" / "model.safetensors")
    assert (other.root / "checkpoints" / "c_1" / "model.safetensors").read_bytes() == content
    here.push(file)
    assert len(sent) == 5
    assert not list((here.root / "uploads").iterdir())


@pytest.fixture(params=["local", "s3"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """A home in a folder, and one on S3: both keep the same promises."""
    root = tmp_path / "home"
    return Home(root, mirror_at(root, s3.new_place()) if request.param == "s3" else None)


def test_a_table_is_written_found_and_put_in_use_again(home: Home):
    store = home.store("study")
    one, two = pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})
    first = store.write(one, making("k1"))
    store.write(two, making("k2"))
    assert store.read("prompts", "all").equals(two)
    found = store.find("prompts", "all", "k1")
    assert found == first
    store.use(found)
    assert store.read("prompts", "all").equals(one)
    assert store.find("prompts", "all", "k3") is None
    with pytest.raises(FileNotFoundError, match="table 'nothing' \\(all\\) has not been materialised"):
        store.read("nothing", "all")


def test_a_table_outlives_the_copy_of_this_machine(tmp_path: Path, place: str):
    home = Home(tmp_path / "home", mirror_at(tmp_path / "home", place))
    event = home.store("study").write(pl.DataFrame({"a": [1, 2]}), making())
    shutil.rmtree(home.root)
    assert home.mirror is not None
    home.mirror.pull_events()
    store: Store = home.store("study")
    assert not (store.root / event.path).exists()
    assert store.find("prompts", "all", "k") == event
    assert store.read("prompts", "all")["a"].to_list() == [1, 2]


def test_the_version_in_use_is_the_last_that_any_machine_put_in_use(tmp_path: Path, place: str):
    homes = [Home(tmp_path / name, mirror_at(tmp_path / name, place)) for name in ("one", "two")]
    homes[0].store("study").write(pl.DataFrame({"a": [1]}), making("k1"))
    homes[1].store("study").write(pl.DataFrame({"a": [2]}), making("k2"))
    assert homes[0].mirror is not None
    homes[0].mirror.pull_events()
    assert homes[0].store("study").read("prompts", "all")["a"].to_list() == [2]


def manifest(name: str) -> Manifest:
    return Manifest(
        checkpoint_id=name, role="student/oracle", base_weights="b", dataset_hash="d", recipe_hash="r", seed=0,
        weights="w", changed=1.0, examples=1, losses=[2.0, 1.0], sample="s", seconds=1.0,
    )  # fmt: skip


def test_a_checkpoint_is_known_without_its_weights_which_come_when_they_are_needed(home: Home):
    checkpoints = home.checkpoints

    def build(folder: Path) -> Manifest:
        write(folder / "model.safetensors", b"weights")
        write(folder / "config.json", b"{}")
        return manifest("c_1")

    checkpoints.create("c_1", build)
    checkpoints.share("c_1")
    if home.mirror is not None:
        shutil.rmtree(home.root)
    assert checkpoints.find("c_1") == manifest("c_1")
    assert checkpoints.find("c_2") is None
    if home.mirror is not None:
        assert not (checkpoints.path("c_1") / "model.safetensors").exists()
    assert (checkpoints.folder("c_1") / "model.safetensors").read_bytes() == b"weights"
    with pytest.raises(FileNotFoundError, match="c_2 is missing or was not finished"):
        checkpoints.folder("c_2")


def test_a_checkpoint_whose_upload_was_cut_off_is_not_there(
    here: Mirror, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
):
    folder = here.root / "checkpoints" / "c_1"
    for name in ("config.json", "model.safetensors", "tracepipe.json"):
        write(folder / name, name.encode())
    put = here._client.put_object

    def cut(**given: Any) -> Any:
        if given["Key"].endswith("tracepipe.json"):
            raise ConnectionError("cut off")
        return put(**given)

    monkeypatch.setattr(here._client, "put_object", cut)
    with pytest.raises(ConnectionError):
        here.push(folder)
    other = there(tmp_path, place)
    assert Checkpoints(other.root / "checkpoints", other).find("c_1") is None


def test_journals_go_up_as_they_grow(here: Mirror, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mirrors, "_FOLLOW_SECONDS", 0.05)
    journal = write(here.root / "responses" / "target.jsonl", b"one\n")
    other = there(tmp_path, place)
    copy = other.root / "responses" / "target.jsonl"
    with here.following([journal]):
        for _ in range(200):
            if other.pull(copy):
                break
        assert copy.read_bytes() == b"one\n"
        with journal.open("ab") as stream:
            stream.write(b"two\n")
    copy.unlink()
    assert other.pull(copy)
    assert copy.read_bytes() == b"one\ntwo\n"


def test_two_machines_that_ask_one_target_do_not_overwrite_each_other(here: Mirror, tmp_path: Path, place: str):
    mine = write(here.root / "responses" / "target.jsonl", b"mine\n")
    other = there(tmp_path, place)
    theirs = write(other.root / "responses" / "target.jsonl", b"theirs\n")
    with (
        pytest.raises(Conflict, match=r"'responses/target.jsonl' was written by another machine"),
        here.following([mine]),
    ):
        other.push(theirs)
    assert there(tmp_path, place, "third").pull(tmp_path / "third" / "responses" / "target.jsonl")
    assert (tmp_path / "third" / "responses" / "target.jsonl").read_bytes() == b"theirs\n"


@pytest.mark.parametrize(
    ("mine", "theirs", "after"),
    [
        (b"1\n", b"1\n2\n", b"1\n2\n"),
        (b"1\n2\n", b"1\n", b"1\n2\n"),
        (b"1\n", b"1\n", b"1\n"),
        (b"1\n3\n", b"1\n2\n", None),
    ],
)
def test_a_journal_left_behind_by_another_machine_is_caught_up_with_before_a_target_is_asked(
    here: Mirror, tmp_path: Path, place: str, mine: bytes, theirs: bytes, after: bytes | None
):
    other = there(tmp_path, place)
    other.push(write(other.root / "responses" / "target.jsonl", theirs))
    journal = write(here.root / "responses" / "target.jsonl", mine)
    if after is None:
        with pytest.raises(Conflict), here.following([journal]):
            pass
        assert journal.read_bytes() == mine
    else:
        with here.following([journal]):
            assert journal.read_bytes() == after
        (other.root / "responses" / "target.jsonl").unlink()
        assert other.pull(other.root / "responses" / "target.jsonl")
        assert (other.root / "responses" / "target.jsonl").read_bytes() == after
    assert [path.name for path in journal.parent.iterdir()] == ["target.jsonl"]


def test_a_journal_is_not_replaced_by_what_its_own_writer_has_just_put(here: Mirror, monkeypatch: pytest.MonkeyPatch):
    journal = write(here.root / "responses" / "target.jsonl", b"1\n")
    here.push(journal)
    with journal.open("ab") as writer:
        # Another process of this machine looked before the push, and fetches after it.
        monkeypatch.setattr(here, "_sha_of", lambda _: "what was there before")
        here.catch_up(journal)
        writer.write(b"2\n")
    assert journal.read_bytes() == b"1\n2\n"
    assert [path.name for path in journal.parent.iterdir()] == ["target.jsonl"]


def test_two_machines_may_ask_two_targets_at_once(tmp_path: Path):
    place = s3.new_place()
    homes = [Home(tmp_path / name, mirror_at(tmp_path / name, place)) for name in ("one", "two")]
    for target in ("a", "b"):
        with homes[0].collecting(target):
            homes[0].journal(target).append({"n": 0})
    for home in homes:
        assert home.mirror is not None
        home.mirror.refresh(home.journals)
    with homes[0].collecting("a"), homes[1].collecting("b"):
        homes[0].journal("a").append({"n": 1})
        homes[1].journal("b").append({"n": 1})
    for home, target in zip(homes, ("b", "a"), strict=True):
        home.catch_up(target)
        assert [entry["n"] for entry in home.journal(target).entries()] == [0, 1]


def test_what_a_summariser_was_paid_for_outlives_this_machine(tmp_path: Path, place: str):
    machines = [Home(tmp_path / name, mirror_at(tmp_path / name, place)) for name in ("one", "two")]
    benches = [home.bench(home.store("study"), InProcessCompute(threads=1), "target") for home in machines]
    with benches[0].summariser("short") as (journal, traces):
        journal.append({"n": 1})
        traces.append_all([{"n": 2}])
    with benches[1].summariser("short") as (journal, traces):
        assert [entry["n"] for entry in journal.entries()] == [1]
        assert [entry["n"] for entry in Journal(traces.path).entries()] == [2]


def test_a_table_that_did_not_reach_s3_gets_there_when_it_is_used_again(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
):
    home = Home(tmp_path / "home", mirror_at(tmp_path / "home", place))
    assert home.mirror is not None
    with monkeypatch.context() as outage:
        outage.setattr(home.mirror, "_put", lambda *_: (_ for _ in ()).throw(ConnectionError("no network")))
        with pytest.raises(ConnectionError):
            home.store("study").write(pl.DataFrame({"a": [1]}), making())
    found = home.store("study").find("prompts", "all", "k")
    assert found is not None
    home.store("study").use(found)
    other = Home(tmp_path / "other", mirror_at(tmp_path / "other", place))
    assert other.mirror is not None
    other.mirror.pull_events()
    assert other.store("study").read("prompts", "all")["a"].to_list() == [1]


def test_what_was_removed_here_is_taken_off_s3_and_nothing_else(here: Mirror, tmp_path: Path, place: str):
    names = ("open/kept", "open/gone", "open/gone-not", "reports/gone/a", "reports/gone/b", "reports/gone-not/a")
    other = there(tmp_path, place)
    for name in names:
        # What only another machine has made is missing here, and stays.
        machine = other if "not" in name else here
        machine.push(write(machine.root / name, b"x"))
    (here.root / "open" / "gone").unlink()
    shutil.rmtree(here.root / "reports" / "gone")
    assert here.forget([here.root / "open" / "gone", here.root / "open" / "kept", here.root / "reports" / "gone"]) == 3
    third = there(tmp_path, place, "third")
    assert [name for name in names if third.pull(third.root / name)] == [names[0], names[2], names[5]]


@pytest.mark.parametrize("url", ["https://host/bucket", "s3://", "bucket"])
def test_a_place_that_is_none_is_refused(tmp_path: Path, url: str):
    with pytest.raises(SpecError, match="is no place on S3; give s3://bucket/prefix"):
        mirror_at(tmp_path, url)
