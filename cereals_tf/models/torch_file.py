"""State dictionaries in PyTorch's file format of before 1.6, read without PyTorch.

Such a file is five pickles (a magic number, the format's version, facts about the machine, the
state dictionary, the keys of the storages) and the storages' raw numbers. A pickle is a program
that may call anything. Its instructions are carried out here by a machine that knows those that
state dictionaries are written with and no others, whose values are numbers, text, tuples, lists and
dictionaries, and which calls nothing.
"""

import io
import math
import pickletools
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_DTYPES = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_MARK = object()


class _Global(str):
    """The name of something to call, `module name`."""


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    length: int


class _Tensor(NamedTuple):
    """Where a tensor lies within a storage, in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(content: bytes) -> dict[str, np.ndarray]:
    """Read the tensors of a state dictionary.

    Args:
        content: The whole file.

    Returns:
        Tensors by name, read-only, float32 or int64, which share the memory of `content`.

    Raises:
        ValueError: The file is damaged, is of another format or holds anything else than
            tensors of these types; says which.
    """
    try:
        return _read(content)
    except (ArithmeticError, AttributeError, LookupError, TypeError, struct.error) as error:
        raise ValueError(f"no state dictionary of PyTorch: {error}") from error


def _read(content: bytes) -> dict[str, np.ndarray]:
    stream = io.BytesIO(content)
    magic, version, machine = (_unpickle(stream) for _ in range(3))
    if (magic, version, machine["little_endian"]) != (_MAGIC, _VERSION, True):
        raise ValueError("not the format of PyTorch before 1.6, little-endian")
    state, keys = _unpickle(stream), _unpickle(stream)
    tensors = {name: value for name, value in state.items() if isinstance(value, _Tensor)}
    if len(tensors) < len(state):
        raise ValueError("not all values are tensors")
    declared = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    storages = dict(_storages(content, stream.tell(), [declared[key] for key in keys]))
    return {name: _array(tensor, storages) for name, tensor in tensors.items()}


def _storages(
    content: bytes, position: int, declared: list[_Storage]
) -> Iterator[tuple[_Storage, np.ndarray]]:
    """Yield the storages, each of which the file holds as a count and the raw numbers."""
    for storage in declared:
        (count,) = struct.unpack_from("<q", content, position)
        if count != storage.length or count < 0:
            raise ValueError(f"storage {storage.key} has {count} numbers, not {storage.length}")
        position += 8
        values = np.frombuffer(content, storage.dtype, count, position)
        position += values.nbytes
        yield storage, values


def _array(tensor: _Tensor, storages: dict[_Storage, np.ndarray]) -> np.ndarray:
    storage, offset, shape, strides = tensor
    if math.prod(shape) > storage.length:
        raise ValueError(f"a tensor of shape {shape} in a storage of {storage.length} numbers")
    size = storage.dtype.itemsize
    # Within the buffer: NumPy refuses anything else.
    return np.ndarray(
        shape, storage.dtype, storages[storage], offset * size, [step * size for step in strides]
    )


def _unpickle(stream: io.BytesIO) -> Any:
    """Carry out one pickle, up to its end, and return what it makes."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(stream):
        match opcode.name:
            case "PROTO":
                pass
            case "STOP":
                return stack.pop()
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append(_CONSTANTS[opcode.name])
            case "GLOBAL":
                stack.append(_Global(argument))
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                length = int(opcode.name[-1])
                stack[-length:] = [tuple(stack[-length:])]
            case "TUPLE":
                stack.append(tuple(_pop_to_mark(stack)))
            case "APPENDS":
                items = _pop_to_mark(stack)
                stack[-1].extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _update(stack[-1], [key, value])
            case "SETITEMS":
                items = _pop_to_mark(stack)
                _update(stack[-1], items)
            case "BINPERSID":
                stack.append(_storage(*stack.pop()))
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_call(stack.pop(), arguments))
            case "BUILD":
                stack.pop()  # metadata of the dictionary
            case _:
                raise ValueError(f"pickle instruction {opcode.name} in a state dictionary")
    raise ValueError("a pickle without an end")


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    items = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]


def _update(target: dict[str, Any], items: list[Any]) -> None:
    if not all(isinstance(key, str) for key in items[::2]):
        raise ValueError("a key that is not text")
    target.update(zip(items[::2], items[1::2], strict=True))


def _call(function: Any, arguments: tuple[Any, ...]) -> Any:
    """Make what a pickle calls a function for, if it is an empty dictionary or a tensor."""
    match function, arguments:
        case _Global("collections OrderedDict"), ():
            return {}
        case (
            _Global("torch._utils _rebuild_tensor_v2"),
            (_Storage() as storage, int(offset), tuple(shape), tuple(strides), *_),
        ):
            if all(type(number) is int for number in (*shape, *strides)):
                return _Tensor(storage, offset, shape, strides)
    raise ValueError(f"a call of {function}")


def _storage(kind: str, dtype: Any, key: str, _: str, count: int, view: None) -> _Storage:
    if kind != "storage" or dtype not in _DTYPES or view is not None:
        raise ValueError(f"a storage of type {dtype}")
    return _Storage(key, _DTYPES[dtype], count)
