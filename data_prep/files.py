"""Writing that leaves either everything or nothing."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.errors import UserError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `out` when the block ends, and vanishes if it fails.

    Raises:
        UserError: `out` is there already and not an empty folder, or its parent is read-only.
    """
    refuse_occupied(out)
    parent = writable_parent(out)
    made = [folder for folder in (out.parent, *out.parent.parents) if not folder.exists()]
    partial = out.parent / f".{out.name}.partial-{secrets.token_hex(4)}"
    try:
        partial.mkdir(parents=True)
        yield partial
        sync_tree(partial)
        if out.is_dir():
            out.rmdir()
        partial.rename(out)
        sync(out.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for folder in made:
            if folder != parent and folder.is_dir():
                folder.rmdir()
        raise


def refuse_occupied(out: Path) -> None:
    """Raise UserError if `out` is there already and not an empty folder."""
    if out.is_dir():
        if any(out.iterdir()):
            raise UserError(f"{out}: exists and is not empty")
    elif out.exists() or out.is_symlink():
        raise UserError(f"{out}: exists and is not a folder")


def writable_parent(path: Path) -> Path:
    """Return the nearest existing folder above `path`.

    Raises:
        UserError: It is not a folder, or it is read-only (also for root, who could override it).
    """
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    refuse_read_only(parent)
    return parent


def refuse_read_only(folder: Path) -> None:
    """Raise UserError unless `folder` is a folder in which files may be made."""
    if not folder.is_dir():
        raise UserError(f"{folder}: not a folder")
    if not os.access(folder, os.W_OK) or not folder.stat().st_mode & 0o222:
        raise UserError(f"{folder}: read-only, cannot write there")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it holds either its old or its new content, whatever happens."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync(path.parent)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder` to the disk."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Flush one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
