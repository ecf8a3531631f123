import os
from pathlib import Path

import pytest

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import (
    new_folder,
    refuse_read_only,
    sync_tree,
    writable_parent,
    write_atomically,
)


def _listing(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_folder_appears_when_the_block_ends(tmp_path):
    out = tmp_path / "new" / "out"
    with new_folder(out) as partial:
        (partial / "below").mkdir()
        (partial / "below" / "file").write_text("content")
        assert not out.exists()
    assert _listing(tmp_path) == ["new", "new/out", "new/out/below", "new/out/below/file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("out", ["out", "new/deeper/out", "empty"])
def test_nothing_stays_when_the_block_fails(tmp_path, error, out):
    (tmp_path / "empty").mkdir()
    with pytest.raises(error), new_folder(tmp_path / out) as partial:
        (partial / "file").write_text("content")
        raise error
    assert _listing(tmp_path) == ["empty"]


def test_leftover_of_a_killed_process_is_not_in_the_way(tmp_path):
    (tmp_path / f".out.partial-{os.getpid()}").mkdir()
    for _ in range(2):
        with pytest.raises(ValueError), new_folder(tmp_path / "out"):
            raise ValueError
    with new_folder(tmp_path / "out") as partial:
        (partial / "file").touch()
    assert (tmp_path / "out" / "file").exists()


def test_relative_and_empty_folders_can_be_filled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for out in ("fresh", "empty"):
        with new_folder(Path(out)) as partial:
            (partial / "file").touch()
    assert _listing(tmp_path) == ["empty", "empty/file", "fresh", "fresh/file"]


def test_occupied_places_are_refused(tmp_path):
    (tmp_path / "full" / "below").mkdir(parents=True)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to("nowhere")
    before = _listing(tmp_path)
    for out in ("full", "file", "link", "file/below", "file/below/deeper"):
        with pytest.raises(UserError, match=out.partition("/")[0]), new_folder(tmp_path / out):
            pytest.fail("the block was entered")
    assert _listing(tmp_path) == before
    assert (tmp_path / "file").read_text() == "kept"


def test_read_only_folders_are_refused_even_to_root(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    for out in (locked / "out", locked / "new" / "out"):
        with pytest.raises(UserError, match=f"{locked}: read-only"), new_folder(out):
            pytest.fail("the block was entered")
    assert not any(locked.iterdir())
    with pytest.raises(UserError, match="locked"):
        refuse_read_only(locked)
    assert writable_parent(tmp_path / "a" / "b" / "c") == tmp_path


def test_file_holds_the_old_or_the_new_content(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"new and longer"
    with pytest.raises(TypeError):
        write_atomically(path, "no bytes")
    assert path.read_bytes() == b"new and longer"
    sync_tree(tmp_path)


def test_the_current_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in (Path("."), tmp_path):
        with pytest.raises(UserError, match="current folder"), new_folder(out):
            pass
    assert not list(tmp_path.iterdir())
