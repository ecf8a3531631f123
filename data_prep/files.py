"""Writing that leaves either everything or nothing."""

import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.remote import RemotePath, StoreError


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
        _remove_empty(made, parent)
        raise


@contextmanager
def resumable_folder(out: Path, fingerprint: str) -> Iterator[tuple[Path, Path]]:
    """Give two folders: one that becomes `out` when the block ends, one for notes on the way.

    If the block is interrupted they stay in `.OUT.unfinished` beside `out`, and whoever comes next
    with the same fingerprint is given them again; with another one, they are emptied. If the block
    fails because of the user or the system, everything vanishes.

    Args:
        out: The folder to make.
        fingerprint: One line that stands for all that the content depends on.

    Raises:
        UserError: `out` is there already and not an empty folder, its parent is read-only, or
            another process is making it.
    """
    refuse_occupied(out)
    parent = writable_parent(out)
    made = [folder for folder in (out.parent, *out.parent.parents) if not folder.exists()]
    unfinished = out.parent / f".{out.name}.unfinished"
    data, notes = unfinished / "data", unfinished / "notes"
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
    except OSError:
        _remove_empty(made, parent)
        raise
    with _locked(unfinished / "lock", f"{out}: another process is making it"):
        try:
            refuse_occupied(out)
            _keep_only((data, notes), unfinished / "fingerprint", fingerprint)
            yield data, notes
            sync_tree(data)
            if out.is_dir():
                out.rmdir()
            data.rename(out)
            sync(out.parent)
        except (UserError, OSError):
            shutil.rmtree(unfinished, ignore_errors=True)
            _remove_empty(made, parent)
            raise
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def resumable_objects(
    out: RemotePath, fingerprint: str, parts: re.Pattern[str], last: str
) -> Iterator[tuple[RemotePath, Path]]:
    """Do what `resumable_folder` does for a folder in an object store.

    Nothing can be renamed there, so files are written to their final places, and those who read
    take the folder for complete when the last file is there. The notes are in the user's cache
    folder on this machine: from another one, an unfinished folder is refused as not empty.

    Args:
        out: The folder to make.
        fingerprint: One line that stands for all that the content depends on.
        parts: The names in `out` of all that the block writes: nothing else is ever removed.
        last: The name of the file that the block writes last.

    Raises:
        UserError: There is something at `out` that was not begun here, `out` cannot be reached or
            written, or another process is making it.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    unfinished = cache / "cereals" / hashlib.sha256(str(out).encode()).hexdigest()
    note, notes = unfinished / "fingerprint", unfinished / "notes"
    with suppress(FileNotFoundError):
        (out / last).read_bytes()
        raise UserError(f"{out}: exists and is not empty")
    unfinished.mkdir(parents=True, exist_ok=True)
    with _locked(unfinished / "lock", f"{out}: another process is making it"):
        there = out.files()
        if there and not (note.is_file() and all(map(parts.fullmatch, there))):
            if not note.is_file():
                shutil.rmtree(unfinished)
            raise UserError(f"{out}: exists and is not empty")
        try:
            if note.is_file() and note.read_text() != fingerprint:
                _remove_parts(out, parts)
            _keep_only((notes,), note, fingerprint)
            yield out, notes
        except StoreError as error:
            raise UserError(f"{error}; the same command goes on from here") from None
        except (UserError, OSError):
            shutil.rmtree(unfinished, ignore_errors=True)
            _remove_parts(out, parts)
            raise
        shutil.rmtree(unfinished, ignore_errors=True)


def _remove_parts(out: RemotePath, parts: re.Pattern[str]) -> None:
    for name in filter(parts.fullmatch, out.files()):
        (out / name).unlink()


@contextmanager
def _locked(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file for this process; the lock goes when the process ends, however.

    Raises:
        UserError: Another process holds it; the message is `busy`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise BlockingIOError  # removed with its folder by whoever held it
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(busy) from None
    try:
        yield
    finally:
        os.close(descriptor)


def _keep_only(folders: Sequence[Path], note: Path, fingerprint: str) -> None:
    """Make the folders, after emptying them if the note does not hold this fingerprint."""
    if not note.is_file() or note.read_text() != fingerprint:
        for folder in folders:
            if folder.exists():
                shutil.rmtree(folder)
        write_atomically(note, fingerprint.encode())
    for folder in folders:
        folder.mkdir(exist_ok=True)


def _remove_empty(folders: Sequence[Path], keep: Path) -> None:
    for folder in folders:
        if folder != keep and folder.is_dir():
            folder.rmdir()


def refuse_occupied(out: Path) -> None:
    """Raise UserError if `out` is there already and not an empty folder."""
    if out.is_dir():
        if any(out.iterdir()):
            raise UserError(f"{out}: exists and is not empty")
        if out.samefile(Path.cwd()):
            raise UserError(f"{out}: is the current folder, expected the name of a new one")
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


def refuse_unwritable(file: Path) -> None:
    """Raise UserError unless a file of this name may be made or replaced."""
    if file.is_dir():
        raise UserError(f"{file}: a folder, expected the name of a file")
    if not file.parent.exists():
        raise UserError(f"{file.parent}: no such folder")
    refuse_read_only(file.parent)


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
