"""Paths in object stores, on the file system in memory that every TensorFlow has."""

import pickle
import re
import secrets
from pathlib import Path

import pytest
import tensorflow as tf

from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import resumable_objects
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.remote import RemotePath, StoreError, folder_at, local_folder
from cereals_tf.data_prep.toy import write_toy
from cereals_tf.data_prep.verify import verify

PARTS = re.compile(r"part-\d|list")


@pytest.fixture
def folder() -> RemotePath:
    return RemotePath(f"ram://{secrets.token_hex(8)}/data")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cereals"


def put(path: RemotePath, content: bytes) -> None:
    tf.io.gfile.makedirs(str(path.parent))  # in memory, unlike in a store, folders must be made
    path.write_bytes(content)


@pytest.mark.parametrize("text", ["s3://bucket/data", "gs://bucket/a/b", "s3://bucket/data/"])
def test_a_url_is_a_remote_path_and_stays_as_it_is(text):
    path = folder_at(text)
    assert isinstance(path, RemotePath)
    assert str(path) == text.rstrip("/")
    assert str(path / "Split-train/x") == text.rstrip("/") + "/Split-train/x"
    assert (path / "x").parent == path
    assert path.resolve() == path
    assert str(pickle.loads(pickle.dumps(path))) == str(path)
    assert folder_at(path) is path


@pytest.mark.parametrize("text", ["data", "/data/x", "../a:b/c"])
def test_everything_else_is_local(text):
    assert folder_at(text) == local_folder(text) == Path(text)
    assert not isinstance(folder_at(text), RemotePath)


@pytest.mark.parametrize("text", ["s3://", "s3:///data", "s3://bucket", "s3://bucket/", "://a/b"])
def test_a_url_without_bucket_or_folder_is_refused(text):
    with pytest.raises(UserError, match=f"^{re.escape(text)}: expected SCHEME://BUCKET/FOLDER"):
        folder_at(text)


def test_local_folders_are_not_urls():
    with pytest.raises(UserError, match="s3://bucket/x: expected a local folder"):
        local_folder("s3://bucket/x")


def test_a_scheme_that_tensorflow_lacks_is_refused():
    with pytest.raises(UserError, match=r"nowhere://: .* pip install 'cereals-tf\[io\]'"):
        PreparedData.open("nowhere://bucket/data")


def test_files_are_written_read_listed_and_removed(folder):
    content = bytes(range(256)) * 10_000  # more than one read
    assert folder.files() == []
    put(folder / "Split-train/x", content)
    put(folder / "y", b"")
    assert sorted(folder.files()) == ["Split-train/x", "y"]
    assert (folder / "Split-train/x").read_bytes() == content
    assert (folder / "Split-train/x").stat().st_size == len(content)
    with (folder / "Split-train/x").open() as file:
        file.seek(255)
        assert file.read(2) == content[255:257]
    assert (folder / "y").is_file()
    assert not (folder / "Split-train").is_file()
    (folder / "y").unlink()
    assert not (folder / "y").is_file()
    with pytest.raises(FileNotFoundError):
        (folder / "y").read_bytes()


def attempt(out: RemotePath, fingerprint: str, names: list[str], error=None) -> list[str]:
    """Write files and then fail with the error; return the notes that were there before."""
    with resumable_objects(out, fingerprint, PARTS, "last") as (data, notes):
        assert data == out
        before = sorted(path.name for path in notes.iterdir())
        for name in names:
            put(data / name, fingerprint.encode())
            (notes / name).touch()
        if error:
            raise error
    return before


def test_an_interruption_keeps_what_is_there_for_the_same_fingerprint(folder, cache):
    with pytest.raises(KeyboardInterrupt):
        attempt(folder, "a", ["part-0", "list"], KeyboardInterrupt())
    assert attempt(folder, "a", ["part-1", "last"]) == ["list", "part-0"]
    assert sorted(folder.files()) == ["last", "list", "part-0", "part-1"]
    assert list(cache.iterdir()) == []


def test_another_fingerprint_begins_anew(folder):
    with pytest.raises(KeyboardInterrupt):
        attempt(folder, "a", ["part-0", "part-1"], KeyboardInterrupt())
    assert attempt(folder, "b", ["part-0", "last"]) == []
    assert sorted(folder.files()) == ["last", "part-0"]
    assert (folder / "part-0").read_bytes() == b"b"


def test_a_store_that_fails_loses_nothing(folder):
    with pytest.raises(UserError, match="gone; the same command goes on from here"):
        attempt(folder, "a", ["part-0"], StoreError("gone"))
    assert attempt(folder, "a", ["last"]) == ["part-0"]


def test_a_mistake_of_the_user_leaves_nothing(folder, cache):
    with pytest.raises(UserError, match="wrong"):
        attempt(folder, "a", ["part-0"], UserError("wrong"))
    assert folder.files() == []
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("name", ["last", "part-0", "of others"])
def test_what_was_there_before_is_not_touched(folder, name):
    put(folder / name, b"theirs")
    with pytest.raises(UserError, match=f"{folder}: exists and is not empty"):
        attempt(folder, "a", ["part-0"])
    assert folder.files() == [name]
    assert (folder / name).read_bytes() == b"theirs"


@pytest.mark.parametrize("fingerprint", ["a", "b"])
def test_what_came_between_is_not_touched(folder, fingerprint):
    with pytest.raises(KeyboardInterrupt):
        attempt(folder, "a", ["part-0"], KeyboardInterrupt())
    put(folder / "other" / "part-0", b"theirs")
    with pytest.raises(UserError, match="exists and is not empty"):
        attempt(folder, fingerprint, ["part-1"])
    assert sorted(folder.files()) == ["other/part-0", "part-0"]


def test_a_second_process_is_refused(folder):
    with (
        resumable_objects(folder, "a", PARTS, "last"),
        pytest.raises(UserError, match="another process is making it"),
    ):
        attempt(folder, "a", [])


def test_a_data_set_is_converted_to_the_same_bytes(folder, tmp_path):
    write_toy(tmp_path / "toy", train_images=2, val_images=1, height=64, width=64)
    prepare(tmp_path / "toy", tmp_path / "data", "cityscapes")
    local = PreparedData.open(tmp_path / "data")
    for shard in (shard for split in local.splits for shard in local.shards(split)):
        tf.io.gfile.makedirs(str((folder / shard.relative_to(tmp_path / "data")).parent))
    prepare(tmp_path / "toy", folder, "cityscapes")

    remote = PreparedData.open(str(folder))
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    names = [path.relative_to(tmp_path / "data").as_posix() for path in files]
    assert sorted(folder.files()) == sorted(names)
    for path, name in zip(files, names, strict=True):
        assert (folder / name).read_bytes() == path.read_bytes()
    assert remote.fingerprint == local.fingerprint
    assert remote.images == local.images
    verify(remote)

    shard = remote.shards("val")[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.unlink()  # in memory, unlike in a store, writing anew would append
    shard.write_bytes(bytes(content))
    with pytest.raises(UserError, match=f"{shard}: record 0: "):
        verify(remote)
