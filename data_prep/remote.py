"""Paths in object stores, as `s3://bucket/folder`, read and written through TensorFlow.

TensorFlow has `gs://` built in; tensorflow-io adds `s3://` and more.
"""

import errno
import os
import re
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from cereals_tf.data_prep.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/]+/+[^/]")
_NO_REASON = "No response body."


class StoreError(UserError):
    """An object store cannot be reached, refuses, or has no such bucket."""


class Status(NamedTuple):
    """What is known of a file: its size in bytes."""

    st_size: int


class RemotePath(PurePosixPath):
    """A file or folder in an object store, with those of `pathlib.Path`'s methods that are needed.

    A file appears whole when it is closed, and a folder is there as long as files are in it. All
    methods that go to the store raise `StoreError`.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    @property
    def scheme(self) -> str:
        """What stands before `://`."""
        return self.parts[0].removesuffix(":")

    def absolute(self) -> "RemotePath":
        """Return the path itself: it means the same everywhere."""
        return self

    resolve = absolute

    def stat(self) -> Status:
        """Return the file's size.

        Raises:
            FileNotFoundError: There is no such file, or, as TensorFlow does not tell these apart,
                it cannot be reached.
        """
        with self.errors_named():
            status = _tensorflow(self.scheme).io.gfile.stat(str(self))
        if status.is_directory:
            raise FileNotFoundError(errno.ENOENT, "is a folder", str(self))
        return Status(status.length)

    def is_file(self) -> bool:
        """Whether there is such a file that can be reached."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def files(self) -> list[str]:
        """Return the names in this folder of all files below; none if it cannot be reached."""
        with self.errors_named():
            found = list(_tensorflow(self.scheme).io.gfile.walk(str(self)))
        paths = (f"{folder.rstrip('/')}/{name}" for folder, _, names in found for name in names)
        return [path.removeprefix(f"{self}/") for path in paths]

    def open(self, mode: str = "rb") -> "tf.io.gfile.GFile":
        """Open the file for reading or writing bytes; use it in a block of `errors_named`."""
        return _tensorflow(self.scheme).io.gfile.GFile(str(self), mode)

    def read_bytes(self) -> bytes:
        """Return the file's content.

        Raises:
            FileNotFoundError: There is no such file.
        """
        with self.errors_named(), self.open() as file:
            # Asking for the size first would make all errors look like missing files.
            return b"".join(iter(lambda: file.read(1 << 20), b""))

    def write_bytes(self, content: bytes) -> None:
        """Write the file."""
        with self.errors_named(), self.open("wb") as file:
            file.write(content)

    def upload(self, file: Path) -> None:
        """Write the file with the content of a local one."""
        with self.errors_named():
            _tensorflow(self.scheme).io.gfile.copy(str(file), str(self), overwrite=True)

    def unlink(self) -> None:
        """Remove the file."""
        with self.errors_named():
            _tensorflow(self.scheme).io.gfile.remove(str(self))

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Turn TensorFlow's errors on this file into ones that name it.

        Raises:
            FileNotFoundError: The file is not there, or, as reading does not tell these apart, its
                bucket.
            StoreError: The block failed in TensorFlow for another reason.
        """
        tf = _tensorflow(self.scheme)
        try:
            yield
        except tf.errors.OpError as error:
            kind = type(error).__name__.removesuffix("Error")
            reason = " ".join(error.message.removesuffix(_NO_REASON).split()).strip(": ")
            if isinstance(error, tf.errors.NotFoundError) and "NoSuchBucket" not in reason:
                raise FileNotFoundError(errno.ENOENT, reason or kind, str(self)) from None
            raise StoreError(": ".join(filter(None, (str(self), kind, reason)))) from None


def folder_at(text: str | Path | RemotePath) -> Path | RemotePath:
    """Return the folder that a user named: in an object store if there is `://` in the name.

    Raises:
        UserError: It is no `SCHEME://BUCKET/FOLDER`.
    """
    if isinstance(text, Path | RemotePath):
        return text
    if "://" not in text:
        return Path(text)
    if not _URL.match(text):
        raise UserError(f"{text}: expected SCHEME://BUCKET/FOLDER, as s3://bucket/data")
    return RemotePath(text)


def local_folder(text: str) -> Path:
    """Return the folder that a user named where object stores are of no use.

    Raises:
        UserError: It is in an object store.
    """
    if "://" in text:
        raise UserError(f"{text}: expected a local folder; only prepared data sets can be remote")
    return Path(text)


@cache
def _tensorflow(scheme: str) -> ModuleType:
    """Import TensorFlow, and what else it needs to read and write paths of this scheme.

    Raises:
        UserError: That is not installed, does not fit this TensorFlow, or S3_ENDPOINT is wrong.
    """
    import tensorflow as tf

    if scheme not in _schemes(tf):
        with suppress(ImportError, NotImplementedError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import tensorflow_io  # noqa: F401
    if scheme not in _schemes(tf):
        raise UserError(
            f"{scheme}://: TensorFlow {tf.__version__} reads no such paths here; s3:// needs "
            "pip install 'cereals-tf[io]' (tensorflow-io with TensorFlow 2.17)"
        )
    if scheme == "s3" and (endpoint := os.environ.get("S3_ENDPOINT")):
        _refuse_silent(endpoint)
    return tf


def _refuse_silent(endpoint: str) -> None:
    """Raise StoreError unless somebody answers there; tensorflow-io takes 100 s to find out."""
    try:
        url = urlsplit(endpoint)
        ports = {"http": 80, "https": 443}
        socket.create_connection((url.hostname, url.port or ports[url.scheme]), 10).close()
    except (KeyError, ValueError):
        message = f"S3_ENDPOINT={endpoint}: expected http://HOST:PORT or https://HOST"
        raise StoreError(message) from None
    except OSError as error:
        raise StoreError(f"S3_ENDPOINT={endpoint}: {error.strerror or error}") from None


def _schemes(tf: ModuleType) -> set[str]:
    return {
        name.decode() if isinstance(name, bytes) else name
        for name in tf.io.gfile.get_registered_schemes()
    }


def plug_in_loaded() -> bool:
    """Whether tensorflow-io is loaded, whose S3 client aborts when the interpreter ends."""
    return "tensorflow_io" in sys.modules
