"""Arrays out of other people's pickles: containers, numbers and arrays are rebuilt, nothing else is executed."""

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

ALLOWED_GLOBALS = {
    ("builtins", "object"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "complex"),
    ("builtins", "bytes"),
    ("builtins", "bytearray"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("numpy", "bool_"),
    ("numpy", "float32"),
    ("numpy", "float64"),
    ("numpy", "int64"),
    ("numpy", "int32"),
}
"""Constructors that build data and have no other effect."""

NUMPY_CORE_MODULES = {f"numpy.{core}.{name}" for core in ("core", "_core") for name in ("multiarray", "numeric")}
"""Homes of the array constructors; numpy 2 moved them."""

SPARSE_CLASSES = {"csc_matrix", "csr_matrix", "coo_matrix", "csc_array", "csr_array", "coo_array"}
"""scipy.sparse classes; scipy has moved their module several times."""


class _ForbiddenGlobalError(ValueError):
    """The pickle names something that is not data."""


class _InertState:
    """Stands in for a class of another package: keeps the pickled state and runs none of its code."""

    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __setstate__(self, state: object) -> None:
        self.state = state


class _InertDtype(_InertState):
    """A numpy dtype. numpy's own believes the flags in a file, and would then take bytes for object pointers."""


class _InertArray(_InertState):
    """A numpy array; its state ends in shape, dtype, whether in Fortran order, and content."""


class _InertScalar(_InertState):
    """A numpy scalar."""


class _InertChumpy(_InertState):
    """A chumpy array, as the released SMPL files hold them."""


class _InertSparse(_InertState):
    """A scipy sparse matrix; its state has the same fields in every scipy version, its class has not."""


def _reconstruct_inert(cls: type, *_: object) -> object:
    """What copyreg._reconstructor and numpy's _reconstruct do, for the stand-ins alone."""
    if not issubclass(cls, _InertState):
        raise pickle.UnpicklingError(f"an object of class {cls.__name__}")
    return cls()


def _array_from_buffer(content: object, dtype: object, shape: object, order: str) -> object:
    """What numpy's _frombuffer does, which pickles of protocol 5 call."""
    array = _InertArray()
    array.state = (shape, dtype, order == "F", content)
    return array


NUMPY_STAND_INS: dict[str, Any] = {
    "_reconstruct": _reconstruct_inert,
    "_frombuffer": _array_from_buffer,
    "scalar": _InertScalar,
}


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("scipy.sparse") and name in SPARSE_CLASSES:
            return type(name, (_InertSparse,), {})
        if module.split(".")[0] == "chumpy":
            return type(name, (_InertChumpy,), {})
        if module in ("copy_reg", "copyreg") and name == "_reconstructor":
            return _reconstruct_inert
        if module in NUMPY_CORE_MODULES and name in NUMPY_STAND_INS:
            return NUMPY_STAND_INS[name]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return _InertArray if name == "ndarray" else _InertDtype
        python_3_module = "builtins" if module == "__builtin__" else module
        if (python_3_module, name) in ALLOWED_GLOBALS:
            return super().find_class(python_3_module, name)
        raise _ForbiddenGlobalError(
            f"{self._path} is a pickle that asks for {module}.{name}; only arrays, numbers and containers are read "
            "from other people's pickles. Save it again with plain numpy arrays."
        )


def load_restricted(path: Path) -> Any:
    """Read a pickle file, Python 2 ones included, without executing anything in it.

    Args:
        path: A `.pkl` file.

    Returns:
        Containers, numbers, strings and numpy arrays. Sparse matrices come back dense, chumpy arrays as their values.

    Raises:
        ValueError: The file is missing, cut off, or holds anything but data.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist: check the path.")
    with path.open("rb") as file:
        return _load(file, path)


def load_npy_object(path: Path) -> Any:
    """Read a `.npy` file; one that holds a pickled object is read by the restricted reader.

    Args:
        path: A `.npy` file, numeric or of dtype object.

    Returns:
        The array, or, for an array of one pickled object, that object.

    Raises:
        ValueError: The file is missing, cut off, no `.npy` file, or holds anything but data.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist: check the path.")
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            _, _, dtype = read_header(file)
            if not dtype.hasobject:
                return np.load(path, allow_pickle=False)
        except Exception as error:
            raise ValueError(f"{path} is not a whole .npy file ({error}): copy or export it again.") from error
        value = _load(file, path)
    if isinstance(value, np.ndarray) and value.dtype == object and value.shape == ():
        return value.item()
    return value


def _load(file: BinaryIO, path: Path) -> Any:
    try:
        return _plain(_RestrictedUnpickler(file, path).load())
    except _ForbiddenGlobalError:
        raise
    # What a damaged pickle raises depends on where the damage is.
    except Exception as error:
        raise ValueError(f"{path} is not a whole pickle of plain arrays ({error}): copy or export it again.") from error


def _plain(value: Any) -> Any:
    """Containers with every stand-in replaced by the array it stands for."""
    if isinstance(value, dict):
        return type(value)((_plain(key), _plain(item)) for key, item in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, _InertArray):
        return _array(*value.state[-4:])
    if isinstance(value, _InertScalar):
        return _array((), value.arguments[0], False, value.arguments[1])[()]
    if isinstance(value, _InertDtype):
        return _dtype(value)
    if isinstance(value, _InertSparse):
        return _dense(value)
    if isinstance(value, _InertChumpy):
        return _chumpy_value(value)
    return value


def _dtype(stand_in: _InertDtype) -> np.dtype:
    """The dtype of a plain or object array; structured ones have no use in other people's pickles."""
    dtype = np.dtype(stand_in.arguments[0])
    if dtype.kind not in "biufcSUO" or dtype.subdtype is not None:
        raise pickle.UnpicklingError(f"an array of {dtype}")
    return dtype if stand_in.state is None else dtype.newbyteorder(stand_in.state[1])


def _array(shape: tuple[int, ...], inert_dtype: _InertDtype, fortran: bool, content: Any) -> np.ndarray:
    """An array from its pickled parts, in this machine's byte order."""
    dtype = _dtype(inert_dtype)
    if dtype.kind == "O":
        flat = np.empty(len(content), dtype=object)
        for index, item in enumerate(content):
            flat[index] = _plain(item)
    else:
        # Python 2 strings arrive decoded as latin1.
        raw = content.encode("latin1") if isinstance(content, str) else content
        flat = np.frombuffer(raw, dtype=dtype).astype(dtype.newbyteorder("="))
    return flat.reshape(shape, order="F" if fortran else "C")


def _chumpy_value(stand_in: _InertChumpy) -> Any:
    """The array in a pickled chumpy object: `x` of chumpy.Ch, or `a[idxs]` of a chumpy selection."""
    state = stand_in.state if isinstance(stand_in.state, dict) else {}
    if "x" in state:
        return np.asarray(_plain(state["x"]))
    if "a" in state and "idxs" in state:
        values = np.asarray(_plain(state["a"])).ravel()[np.asarray(_plain(state["idxs"]))]
        shape = state.get("preferred_shape")
        return values if shape is None else values.reshape(shape)
    raise pickle.UnpicklingError(f"a chumpy {type(stand_in).__name__} without a stored value")


def _dense(stand_in: _InertSparse) -> np.ndarray:
    """A compressed or coordinate sparse matrix as a dense array."""
    import scipy.sparse

    state = _plain(stand_in.state)
    shape = state.get("_shape", state.get("shape"))
    kind = type(stand_in).__name__[:3]
    if kind == "coo":
        rows, columns = state["coords"] if "coords" in state else (state["row"], state["col"])
        return scipy.sparse.coo_matrix((state["data"], (rows, columns)), shape=shape).toarray()
    compressed = scipy.sparse.csc_matrix if kind == "csc" else scipy.sparse.csr_matrix
    matrix = compressed((state["data"], state["indices"], state["indptr"]), shape=shape)
    # toarray() writes wherever the indices point.
    matrix.check_format(full_check=True)
    return matrix.toarray()
