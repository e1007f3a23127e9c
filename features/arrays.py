"""Frozen dataclasses of arrays on disk: one `.npy` per array, so that workers map one copy.

Arrays and sparse matrices become files, bytes `.onnx` graphs, values of other kinds one
`values.json`, nested dataclasses directories. Nothing is pickled: what is read back is numbers,
text and graphs, never code.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from mmap import PAGESIZE
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np
import scipy.sparse as sp

T = TypeVar("T")
_CSR = ("data", "indices", "indptr")


def save(value: Any, directory: Path) -> None:
    """Write the dataclass `value` as a new directory."""
    directory.mkdir(parents=True)
    plain: dict[str, Any] = {}
    for name in (field.name for field in fields(value)):
        part = getattr(value, name)
        if isinstance(part, np.ndarray):
            np.save(directory / f"{name}.npy", part, allow_pickle=False)
        elif isinstance(part, sp.csr_matrix):
            for array in _CSR:
                np.save(directory / f"{name}.{array}.npy", getattr(part, array))
            plain[name] = list(part.shape)
        elif isinstance(part, bytes):
            (directory / f"{name}.onnx").write_bytes(part)
        elif is_dataclass(part):
            save(part, directory / name)
        else:
            plain[name] = part
    (directory / "values.json").write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n")


def load(kind: type[T], directory: Path, *, mapped: bool = True) -> T:
    """Read a `kind` that `save` wrote; `mapped` arrays stay on disk until they are touched."""
    plain = json.loads((directory / "values.json").read_text())
    hints = get_type_hints(kind)
    parts: dict[str, Any] = {}
    for name in (field.name for field in fields(kind)):  # type: ignore[arg-type]
        if (directory / f"{name}.npy").exists():
            parts[name] = load_array(directory / f"{name}.npy", mapped)
        elif (directory / f"{name}.onnx").exists():
            parts[name] = (directory / f"{name}.onnx").read_bytes()
        elif (directory / name).is_dir():
            parts[name] = load(hints[name], directory / name, mapped=mapped)
        elif (directory / f"{name}.data.npy").exists():
            arrays = tuple(load_array(directory / f"{name}.{array}.npy", mapped) for array in _CSR)
            parts[name] = sp.csr_matrix(arrays, shape=tuple(plain[name]), copy=False)
        else:
            parts[name] = plain[name]
    return kind(**parts)


def load_array(path: Path, mapped: bool = True) -> Any:
    """One array; `mapped`: it stays on disk until it is touched."""
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except ValueError:  # an array without elements cannot be mapped
        return np.load(path, allow_pickle=False)
    return np.asarray(array)  # the same pages, without the cost of np.memmap at every slice


def touch(value: Any) -> None:
    """Read a byte of every page of every array in `value`: what is mapped is in memory then."""
    left, seen = [value], set[int]()
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            one.reshape(-1).view(np.uint8)[::PAGESIZE].max(initial=0)
        elif isinstance(one, sp.csr_matrix):
            left += [getattr(one, array) for array in _CSR]
        elif isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one
        elif is_dataclass(one):
            left += [getattr(one, field.name) for field in fields(one)]
