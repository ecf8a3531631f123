import io
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cereals_tf.models.torch_file import read_state_dict

MAGIC = 0x1950A86A20F9469CFC6C
MACHINE = {"protocol_version": 1001, "little_endian": True}


class Storage:
    """What PyTorch's pickles name by a persistent id."""

    def __init__(self, values, name="FloatStorage", count=None):
        self.values, self.name = values, name
        self.count = values.size if count is None else count


class Call:
    """Pickled as a call of a global function, which need not exist here."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return Named(self.function), self.arguments


class Named:
    """Pickled as the name of a global."""

    def __init__(self, name):
        self.name = name

    def __call__(self):
        raise AssertionError


class Pickler(pickle._Pickler):
    """Writes storages and globals as PyTorch does, without PyTorch."""

    def persistent_id(self, thing):
        if isinstance(thing, Storage):
            return (
                "storage",
                Named(f"torch {thing.name}"),
                str(id(thing)),
                "cpu",
                thing.count,
                None,
            )
        return None

    def save(self, thing, save_persistent_id=True):
        if isinstance(thing, Named):
            self.write(pickle.GLOBAL + thing.name.replace(" ", "\n").encode() + b"\n")
        else:
            super().save(thing, save_persistent_id)


def pickled(thing):
    stream = io.BytesIO()
    Pickler(stream, 2).dump(thing)
    return stream.getvalue()


def tensor(storage, offset, shape, strides):
    rebuild = "torch._utils _rebuild_tensor_v2"
    return Call(rebuild, storage, offset, shape, strides, False, Call("collections OrderedDict"))


def file_of(state, *storages, magic=MAGIC, machine=MACHINE, keys=None):
    keys = [str(id(storage)) for storage in storages] if keys is None else keys
    raw = [struct.pack("<q", s.values.size) + s.values.tobytes() for s in storages]
    return b"".join([*map(pickled, (magic, 1001, machine, state, keys)), *raw])


def valid_file():
    floats = Storage(np.arange(24, dtype="<f4"))
    count = Storage(np.array([7], "<i8"), "LongStorage")
    state = {
        "rows": tensor(floats, 0, (2, 3, 4), (12, 4, 1)),
        "columns": tensor(floats, 4, (4, 5), (1, 4)),
        "count": tensor(count, 0, (), ()),
    }
    return file_of(state, floats, count)


def test_reads_tensors_as_they_lie_in_their_storages():
    state = read_state_dict(valid_file())
    values = np.arange(24, dtype="f4")
    np.testing.assert_array_equal(state["rows"], values.reshape(2, 3, 4))
    np.testing.assert_array_equal(state["columns"], values[4:].reshape(5, 4).T)
    assert state["count"] == 7
    assert [value.dtype for value in state.values()] == ["float32", "float32", "int64"]


HOSTILE = {
    "a command": Call("os system", "touch owned"),
    "an expression": Call("builtins eval", "open('owned', 'w')"),
    "another function of torch": Call("torch._utils _rebuild_parameter", 1, True, {}),
    "a callable that is an argument": Call("builtins getattr", Named("os system"), "__call__"),
    "a dictionary with contents": Call("collections OrderedDict", [("owned", 1)]),
    "a number": 3,
    "a key that is a tuple": {("a", "b"): 1},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_calls_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for thing in (HOSTILE[name], {"weight": HOSTILE[name]}):
        for content in (file_of(thing), file_of({}, machine=thing), file_of({}, magic=thing)):
            with pytest.raises(ValueError):
                read_state_dict(content)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_calls_nothing_in_any_protocol(protocol, tmp_path, monkeypatch):
    class Attack:
        def __reduce__(self):
            return os.mkdir, ("owned",)

    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        read_state_dict(pickle.dumps(Attack(), protocol) * 5)
    assert not list(tmp_path.iterdir())


INSTRUCTIONS = sorted(opcode.code for opcode in pickletools.opcodes)


@pytest.mark.parametrize("code", INSTRUCTIONS)
def test_no_instruction_makes_more_than_numbers_text_and_containers(code, tmp_path, monkeypatch):
    """Each instruction runs on a stack that would let it call `os.mkdir`."""
    monkeypatch.chdir(tmp_path)
    prepared = b"\x80\x02cos\nmkdir\n(X\x05\x00\x00\x00ownedt"
    argument = b"os\nmkdir\n" + bytes(8)
    with pytest.raises(ValueError):
        read_state_dict((prepared + code.encode("latin-1") + argument + b".") * 5)
    assert not list(tmp_path.iterdir())


HUGE = 1 << 62


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (25,), (1,)),
        (1, (24,), (1,)),
        (-1, (2,), (1,)),
        (0, (HUGE, HUGE), (0, 0)),
        (0, (HUGE,), (1,)),
        (0, (2,), (HUGE,)),
        (0, (2, 3), (-3, 1)),
        (0, (-2, -3), (3, 1)),
        (0, (0, HUGE * HUGE), (1, 1)),
        (0, (HUGE, "a"), (1, 1)),
        (HUGE * HUGE, (1,), (1,)),
        (0, (2, 3), (1,)),
        (0, ((2,),), (1,)),
    ],
)
def test_no_tensor_reaches_beyond_its_storage(offset, shape, strides):
    storage = Storage(np.zeros(24, "<f4"))
    with pytest.raises(ValueError):
        read_state_dict(file_of({"weight": tensor(storage, offset, shape, strides)}, storage))


@pytest.mark.parametrize("count", [-1, 5, 7, HUGE, HUGE * HUGE])
def test_no_storage_is_larger_than_it_says(count):
    storage = Storage(np.zeros(6, "<f4"), count=count)
    with pytest.raises(ValueError):
        read_state_dict(file_of({"weight": tensor(storage, 0, (6,), (1,))}, storage))


@pytest.mark.parametrize("name", ["DoubleStorage", "QInt8Storage", "Tensor"])
def test_other_types_are_refused(name):
    storage = Storage(np.zeros(6, "<f4"), name)
    with pytest.raises(ValueError, match=name):
        read_state_dict(file_of({"weight": tensor(storage, 0, (6,), (1,))}, storage))


def test_other_formats_are_refused():
    storage = Storage(np.zeros(6, "<f4"))
    state = {"weight": tensor(storage, 0, (6,), (1,))}
    for wrong in ({"magic": 1}, {"machine": {"little_endian": False}}, {"keys": ["1"]}):
        with pytest.raises(ValueError):
            read_state_dict(file_of(state, storage, **wrong))
    for content in (b"", b"PK\x03\x04", b"\x80\x02r\xff\xff\xff\xff."):
        with pytest.raises(ValueError):
            read_state_dict(content)


@settings(max_examples=200)
@given(st.data())
def test_damage_is_refused_or_gives_arrays(data):
    content = bytearray(valid_file())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
        with pytest.raises(ValueError):
            read_state_dict(bytes(content))
        return
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        state = read_state_dict(bytes(content))
    except ValueError:
        return
    assert all(isinstance(value, np.ndarray) and value.size <= 24 for value in state.values())
