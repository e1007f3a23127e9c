"""A network or a forest as an ONNX graph: what torch and LightGBM leave behind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX graph, run on one thread: requests are what a worker does at the same time."""

    graph: bytes

    @cached_property
    def session(self) -> ort.InferenceSession:
        """The graph, loaded at its first use."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        return ort.InferenceSession(self.graph, options, providers=["CPUExecutionProvider"])

    def run(self, output: str, **inputs: NDArray[Any]) -> NDArray[np.float32]:
        """The output of that name for inputs by name."""
        (found,) = self.session.run([output], inputs)
        return np.asarray(found, dtype=np.float32)
