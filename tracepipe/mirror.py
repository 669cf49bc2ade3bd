"""A home whose files live on S3: the folder on this machine is a copy of it, filled as needed and lost at will.

A file has the key of its path below the home. It is put whole, and named by its SHA-256 there; large files go up in
parts, and an upload that was cut off goes on with the parts that are there. What is read is found by its own key, never
by a listing that could be behind; listings only say what there is to look at.
"""

import base64
import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracepipe.files import move_into_place, temporary_beside, write_atomically
from tracepipe.identity import digest
from tracepipe.spec import SpecError

PART_BYTES = 64 * 2**20
_SHA = "sha256"
_MISSING = ("404", "NoSuchKey", "NotFound")
_EVENTS = ("open/tables/", "withheld/tables/")
_FOLLOW_SECONDS = 60.0


class Conflict(RuntimeError):
    """Another machine has written a file that only one may write at a time; the message names it."""


class Mirror:
    """One home on S3, and the folder that mirrors it.

    Args:
        root: The home's folder on this machine.
        url: `s3://bucket/prefix`.
        client: A boto3 S3 client.
    """

    def __init__(self, root: Path, url: str, client: Any) -> None:
        scheme, _, rest = url.partition("://")
        self._bucket, _, prefix = rest.partition("/")
        if scheme != "s3" or not self._bucket:
            raise SpecError(f"TRACEPIPE_STORE: '{url}' is no place on S3; give s3://bucket/prefix")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = client
        self.root = root
        self.url = url

    def key(self, path: Path) -> str:
        """Return the key of a path below the home."""
        return self._prefix + path.relative_to(self.root).as_posix()

    def push(self, path: Path) -> None:
        """Put a file, or the files of a folder, on S3; what is there with the same content is left alone.

        In a folder, files whose names begin with `tracepipe` go last: they say that the others are whole.
        """
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        for file in sorted(files, key=lambda one: (one.name.startswith("tracepipe"), one)):
            sha = sha256(file)
            if self._sha_of(self.key(file)) != sha:
                self._put(file, sha)

    def pull(self, path: Path, into: Path | None = None) -> bool:
        """Fetch a file that is missing here, to its own place or another; returns whether it is here then."""
        place = into or path
        return place.exists() or self._fetch(self.key(path), place)

    def pull_folder(self, folder: Path) -> None:
        """Fetch what is missing here of a folder, files whose names begin with `tracepipe` last."""
        keys = self._keys(f"{self.key(folder)}/")
        for key in sorted(keys, key=lambda one: (one.rpartition("/")[2].startswith("tracepipe"), one)):
            self.pull(self._path(key))

    def pull_events(self) -> None:
        """Fetch lineage events that are missing here, and all that say which version is in use."""
        for key in [key for root in _EVENTS for key in self._keys(self._prefix + root) if key.endswith(".json")]:
            path = self._path(key)
            if path.name == "current.json":
                self._fetch(key, path)
            else:
                self.pull(path)

    def pull_all(self, *folders: str) -> None:
        """Fetch everything that is missing here, or that of some folders."""
        for folder in folders or ("",):
            for key in self._keys(self._prefix + folder):
                self.pull(self._path(key))

    def refresh(self, folders: Sequence[Path]) -> None:
        """Catch up with all journals of some folders.

        Raises:
            Conflict: See `catch_up`.
        """
        for folder in folders:
            for key in self._keys(f"{self.key(folder)}/"):
                self.catch_up(self._path(key))

    def catch_up(self, file: Path) -> None:
        """Bring a journal up to date: a file that only grows, so that of two copies one is the other's beginning.

        Raises:
            Conflict: If neither is; nothing is overwritten.
        """
        there = self._sha_of(self.key(file))
        if not file.exists() or there in (None, sha256(file)):
            self.pull(file)
            return
        theirs = temporary_beside(file)
        self._fetch(self.key(file), theirs)
        # Only what is longer comes from elsewhere: another process may be writing here, and has put what is the same.
        if theirs.stat().st_size > file.stat().st_size and _begins(theirs, with_=file):
            move_into_place(theirs, file)
            return
        mine_is_longer = _begins(file, with_=theirs)
        theirs.unlink()
        if not mine_is_longer:
            raise Conflict(self._conflict(file))

    def _conflict(self, file: Path) -> str:
        return (
            f"{self.url}: '{file.relative_to(self.root)}' was written by another machine meanwhile; keep both copies, "
            "and let one machine at a time ask a target"
        )

    def forget(self, removed: Iterable[Path]) -> int:
        """Remove files and folders from S3 that were removed here, and nothing else; returns how many files."""
        known = {key for path in removed for key in self._below(path)}
        gone = sorted(key for key in known if not self._path(key).exists())
        for start in range(0, len(gone), 1000):
            objects = [{"Key": key} for key in gone[start : start + 1000]]
            self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
        return len(gone)

    @contextmanager
    def following(self, files: Sequence[Path]) -> Iterator[None]:
        """Put journals on S3 whenever they have grown, while a block runs and at its end.

        Each is written by one machine at a time; other journals beside it may be written elsewhere.

        Raises:
            Conflict: If another machine has written one of them meanwhile; nothing is overwritten.
        """
        for file in files:
            self.catch_up(file)
        seen = {file: self._sha_of(self.key(file)) for file in files}
        ended = threading.Event()
        failed: list[Exception] = []

        def follow() -> None:
            while not ended.wait(_FOLLOW_SECONDS) and not failed:
                try:
                    self._push_grown(seen)
                except Exception as error:
                    failed.append(error)

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()
            self._push_grown(seen)
        for error in failed:
            raise error

    def _push_grown(self, seen: dict[Path, str | None]) -> None:
        for file, before in seen.items():
            if not file.exists():
                continue
            sha, there = sha256(file), self._sha_of(self.key(file))
            if sha == there:
                seen[file] = sha
                continue
            if there != before:
                raise Conflict(self._conflict(file))
            self._put(file, sha)
            seen[file] = sha

    def _path(self, key: str) -> Path:
        return self.root / key.removeprefix(self._prefix)

    def _keys(self, prefix: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def _below(self, path: Path) -> list[str]:
        """The keys of a file, or of all files of a folder."""
        whole = self.key(path)
        return [key for key in self._keys(whole) if key == whole or key.startswith(f"{whole}/")]

    def _sha_of(self, key: str) -> str | None:
        found = self._head(key)
        return None if found is None else found["Metadata"].get(_SHA)

    def _head(self, key: str) -> Mapping[str, Any] | None:
        from botocore.exceptions import ClientError

        try:
            found: Mapping[str, Any] = self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise
        return found

    def _fetch(self, key: str, path: Path) -> bool:
        """Fetch a file, check it, and move it into place."""
        found = self._head(key)
        if found is None:
            return False
        temporary = temporary_beside(path)
        self._client.download_file(self._bucket, key, str(temporary))
        expected = found["Metadata"].get(_SHA)
        if expected is not None and sha256(temporary) != expected:
            temporary.unlink()
            raise RuntimeError(f"{self.url}: what came of '{key}' is not what was put there; run again")
        move_into_place(temporary, path)
        return True

    def _put(self, file: Path, sha: str) -> None:
        key = self.key(file)
        if file.stat().st_size <= PART_BYTES:
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=file.read_bytes(),
                Metadata={_SHA: sha},
                ChecksumSHA256=base64.b64encode(bytes.fromhex(sha)).decode(),
            )
            return
        upload = self._upload(key, sha)
        there = self._parts_there(key, upload)
        parts = []
        for number, body in enumerate(_pieces(file), start=1):
            checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
            tag = there.get(number, {}).get("ETag")
            if tag is None or not _same(there[number], body, checksum):
                tag = self._client.upload_part(
                    Bucket=self._bucket, Key=key, UploadId=upload, PartNumber=number, Body=body, ChecksumSHA256=checksum
                )["ETag"]
            parts.append({"PartNumber": number, "ETag": tag, "ChecksumSHA256": checksum})
        self._client.complete_multipart_upload(
            Bucket=self._bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
        )
        self._note_of(key, sha).unlink()

    def _upload(self, key: str, sha: str) -> str:
        """Return the upload of this very content that was cut off, or begin one and note it."""
        note = self._note_of(key, sha)
        if not note.exists():
            begun = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=key, Metadata={_SHA: sha}, ChecksumAlgorithm="SHA256"
            )
            write_atomically(note, str(begun["UploadId"]).encode())
        return note.read_text(encoding="utf-8")

    def _note_of(self, key: str, sha: str) -> Path:
        return self.root / "uploads" / digest([self.url, key, sha])

    def _parts_there(self, key: str, upload: str) -> dict[int, Mapping[str, Any]]:
        pages = self._client.get_paginator("list_parts").paginate(Bucket=self._bucket, Key=key, UploadId=upload)
        return {part["PartNumber"]: part for page in pages for part in page.get("Parts", ())}


def _same(part: Mapping[str, Any], body: bytes, checksum: str) -> bool:
    """Whether a part that has arrived is this one; stores that list no checksums name parts by their MD5."""
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return bool(part.get("ChecksumSHA256") == checksum or part["ETag"].strip('"') == md5)


def mirror_at(root: Path, url: str) -> Mirror:
    """Return the mirror of a place on S3, with credentials, region and endpoint from the environment.

    Raises:
        SpecError: If boto3 is not installed, or the place is none.
    """
    try:
        import boto3
    except ImportError:
        raise SpecError("TRACEPIPE_STORE: a store on S3 needs the extra: pip install -e '.[aws]'") from None
    return Mirror(root, url, boto3.client("s3"))


def _begins(whole: Path, *, with_: Path) -> bool:
    """Whether a file begins with the content of another."""
    if whole.stat().st_size < with_.stat().st_size:
        return False
    with whole.open("rb") as long, with_.open("rb") as short:
        while piece := short.read(PART_BYTES):
            if long.read(len(piece)) != piece:
                return False
    return True


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(PART_BYTES):
            yield piece
