"""Other people's pickles give up their arrays, and nothing in them runs."""

import builtins
import os
import pickle
import pickletools
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal

from human_avatars.files.restricted_pickle import load_npy_object, load_restricted

ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    np.arange(6, dtype=">i4").reshape(3, 2)[:, ::-1],
    np.array(2.5),
    np.zeros((0, 3), dtype=np.uint8),
    np.array([True, False]),
    np.array(["neutral", "männlich"]),
    np.array([b"raw"]),
]


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def write_pickle(path: Path, value: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_comes_back_unchanged(tmp_path: Path, protocol: int) -> None:
    objects = np.empty((2, 1), dtype=object)
    objects[0, 0], objects[1, 0] = {"K": [np.eye(3)]}, "name"
    value = {
        "arrays": ARRAYS,
        "nested": OrderedDict(first=(1, 2.5, None, "text", b"bytes", True), second={1, 2}, third=frozenset([3])),
        "scalars": [np.float32(1.5), np.int64(-3), np.bool_(True), complex(1, 2), bytearray(b"abc")],
        np.int64(7): "numpy key",
    }
    read = load_restricted(write_pickle(tmp_path / "data.pkl", {**value, "objects": objects}, protocol))
    for array, expected in zip(read["arrays"], ARRAYS, strict=True):
        assert_array_equal(array, expected.astype(expected.dtype.newbyteorder("=")), strict=True)
        assert array.flags.writeable
    assert read["nested"] == value["nested"]
    assert type(read["nested"]) is OrderedDict
    assert read["scalars"] == value["scalars"]
    assert [type(scalar) for scalar in read["scalars"]] == [type(scalar) for scalar in value["scalars"]]
    assert read[7] == "numpy key"
    assert read["objects"].shape == (2, 1)
    assert_array_equal(read["objects"][0, 0]["K"][0], np.eye(3))


def test_python_2_strings_and_arrays_are_read(tmp_path: Path) -> None:
    # As Python 2 wrote it: array content is a string of bytes above 127, the classes lie in copy_reg and __builtin__.
    content = np.array([-1.5, 3.0]).tobytes()
    path = tmp_path / "python2.pkl"
    path.write_bytes(
        b"}(U\x01acnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(K\x02tcnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"U" + bytes([len(content)]) + content
        + b"tbU\x04namec__builtin__\nset\n((lU\x01xatRu."
    )  # fmt: skip
    read = load_restricted(path)
    assert_array_equal(read["a"], [-1.5, 3.0])
    assert read["name"] == {"x"}


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
@pytest.mark.parametrize("kind", ["csc_matrix", "csr_matrix", "coo_matrix", "csc_array", "csr_array", "coo_array"])
def test_sparse_matrices_come_back_dense(tmp_path: Path, kind: str, protocol: int) -> None:
    dense = np.array([[0.0, 0.25, 0.75], [0.5, 0.0, 0.0]])
    path = write_pickle(tmp_path / "regressor.pkl", {"J_regressor": getattr(scipy.sparse, kind)(dense)}, protocol)
    assert_array_equal(load_restricted(path)["J_regressor"], dense)


def test_sparse_matrices_from_old_scipy_modules_are_read(tmp_path: Path) -> None:
    dense = np.array([[0.0, 0.25], [0.5, 0.0]])
    content = pickle.dumps(scipy.sparse.csc_matrix(dense), 2)
    old = content.replace(b"cscipy.sparse._csc\n", b"cscipy.sparse.csc\n")
    assert old != content
    (tmp_path / "old.pkl").write_bytes(old)
    assert_array_equal(load_restricted(tmp_path / "old.pkl"), dense)


def test_sparse_indices_outside_the_matrix_are_refused(tmp_path: Path) -> None:
    matrix = scipy.sparse.csc_matrix(np.eye(2))
    matrix.indices[:] = 10**6
    with pytest.raises(ValueError, match=r"bad\.pkl is not a whole pickle"):
        load_restricted(write_pickle(tmp_path / "bad.pkl", matrix))


@pytest.mark.parametrize("protocol", [0, 2])
def test_chumpy_arrays_come_back_as_their_values(
    tmp_path: Path, pickle_with_chumpy: Callable[..., bytes], protocol: int
) -> None:
    table = np.arange(6.0).reshape(2, 3)
    states = {
        "shapedirs": {"x": table, "_dirty_vars": {"x"}, "_status": "new"},
        "chosen": {"a": table, "idxs": np.array([5, 0])},
        "shaped": {"a": table, "idxs": np.array([5, 0]), "preferred_shape": (2, 1)},
    }
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle_with_chumpy(states, {}, protocol))
    opcodes = {(opcode.name, argument) for opcode, argument, _ in pickletools.genops(path.read_bytes())}
    assert (("GLOBAL", "copy_reg _reconstructor") in opcodes) == (protocol < 2)
    assert "chumpy" not in sys.modules
    read = load_restricted(path)
    assert_array_equal(read["shapedirs"], table)
    assert_array_equal(read["chosen"], [5.0, 0.0])
    assert_array_equal(read["shaped"], [[5.0], [0.0]])


def test_a_chumpy_expression_without_a_value_is_refused(
    tmp_path: Path, pickle_with_chumpy: Callable[..., bytes]
) -> None:
    path = tmp_path / "expression.pkl"
    path.write_bytes(pickle_with_chumpy({"sum": {"terms": []}}, {}, 2))
    with pytest.raises(ValueError, match=r"expression\.pkl.*a chumpy Ch without a stored value"):
        load_restricted(path)


FORBIDDEN = [
    (os.system, f"{os.system.__module__}.system"),
    (builtins.eval, "__builtin__.eval"),
    (builtins.getattr, "__builtin__.getattr"),
    (np.load, "numpy.load"),
    (np.memmap, "numpy.memmap"),
    (pickle.loads, "pickle.loads"),
]


@pytest.mark.parametrize(("function", "name"), FORBIDDEN)
def test_other_globals_are_refused_by_name(tmp_path: Path, function: Callable[..., Any], name: str) -> None:
    path = write_pickle(tmp_path / "evil.pkl", {"a": np.eye(2), "b": Call(function, "x")})
    with pytest.raises(ValueError, match=rf"evil\.pkl is a pickle that asks for {name}; only arrays"):
        load_restricted(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("writer", ["pkl", "npy"])
def test_nothing_in_a_pickle_runs(tmp_path: Path, protocol: int, writer: str) -> None:
    mark = tmp_path / "executed"
    evil = Call(os.system, f"touch {mark}")
    path = tmp_path / f"evil.{writer}"
    if writer == "npy":
        holder = np.empty((), dtype=object)
        holder[()] = {"cams": evil}
        np.save(path, holder, allow_pickle=True)
        load = load_npy_object
    else:
        write_pickle(path, {"cams": [evil]}, protocol)
        load = load_restricted
    with pytest.raises(ValueError, match=r"evil.*\.system; only arrays"):
        load(path)
    assert not mark.exists()
    # The pickle does run where nothing holds it back: otherwise this test would say nothing.
    pickle.loads(pickle.dumps(evil))
    assert mark.exists()


@pytest.mark.parametrize(
    "array",
    [
        Call(np.ndarray, (1,), np.dtype("O"), b"8 bytes."),
        np.zeros(2, dtype=[("a", "f8"), ("b", "O")]),
        np.zeros(2, dtype=[("a", "f8")]),
    ],
)
def test_arrays_of_raw_pointers_and_structures_are_refused(tmp_path: Path, array: object) -> None:
    with pytest.raises(ValueError, match=r"evil\.pkl is not a whole pickle of plain arrays"):
        load_restricted(write_pickle(tmp_path / "evil.pkl", array))


def test_object_arrays_cannot_be_given_bytes_for_pointers(tmp_path: Path) -> None:
    content = pickle.dumps(np.array([1.0]), 2)
    # The flags stay those of a number: numpy itself would take the eight bytes for the address of an object.
    forged = content.replace(b"X\x02\x00\x00\x00f8", b"X\x02\x00\x00\x00O8")
    assert forged != content
    (tmp_path / "forged.pkl").write_bytes(forged)
    with pytest.raises(ValueError, match=r"forged\.pkl is not a whole pickle"):
        load_restricted(tmp_path / "forged.pkl")


@pytest.mark.parametrize("load", [load_restricted, load_npy_object])
@pytest.mark.parametrize("make", ["missing", "folder"])
def test_missing_files_are_named(tmp_path: Path, load: Callable[[Path], Any], make: str) -> None:
    path = tmp_path / "absent.npy"
    if make == "folder":
        path.mkdir()
    with pytest.raises(ValueError, match=r"absent\.npy does not exist"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"just some text\n", b"\x80\x04\x95", b"cnumpy\n", b"hello", b"."])
def test_files_of_other_kinds_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"odd\.pkl is "):
        load_restricted(tmp_path / "odd.pkl")
    (tmp_path / "odd.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"odd\.npy is not a whole \.npy file"):
        load_npy_object(tmp_path / "odd.npy")


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickles_cut_off_anywhere_are_named(tmp_path: Path, protocol: int) -> None:
    value = {"poses": np.arange(4.0), "sparse": scipy.sparse.csc_matrix(np.eye(2)), "object": np.array([None, "a"])}
    content = pickle.dumps(value, protocol)
    path = tmp_path / "cut.pkl"
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.pkl is "):
            load_restricted(path)


@pytest.mark.parametrize("array", [np.arange(40.0).reshape(4, 10), np.array([{"a": 1}, "b"], dtype=object)])
def test_npy_files_cut_off_anywhere_are_named(tmp_path: Path, array: np.ndarray) -> None:
    whole, path = tmp_path / "whole.npy", tmp_path / "cut.npy"
    np.save(whole, array, allow_pickle=True)
    content = whole.read_bytes()
    for length in range(0, len(content), 5):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.npy is "):
            load_npy_object(path)


def test_numeric_npy_files_are_arrays(tmp_path: Path) -> None:
    for index, array in enumerate(ARRAYS):
        np.save(tmp_path / f"{index}.npy", array)
        assert_array_equal(load_npy_object(tmp_path / f"{index}.npy"), array, strict=True)


def test_npy_files_of_one_object_are_that_object(tmp_path: Path) -> None:
    annotations = {"cams": {"K": [np.eye(3), np.eye(3)], "T": [np.zeros((3, 1))]}, "ims": [{"ims": ["0/1.jpg"]}]}
    np.save(tmp_path / "annots.npy", annotations, allow_pickle=True)  # pyright: ignore[reportArgumentType]
    read = load_npy_object(tmp_path / "annots.npy")
    assert read["ims"] == annotations["ims"]
    assert_array_equal(read["cams"]["K"], [np.eye(3), np.eye(3)])


def test_npy_files_of_many_objects_are_object_arrays(tmp_path: Path) -> None:
    values = np.array([{"a": np.arange(3)}, "b"], dtype=object)
    np.save(tmp_path / "many.npy", values, allow_pickle=True)
    read = load_npy_object(tmp_path / "many.npy")
    assert read.shape == (2,)
    assert_array_equal(read[0]["a"], np.arange(3))
