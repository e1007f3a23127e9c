"""SASRec (Kang & McAuley 2018) in torch: what a history's items, in order, say of the next one."""

from __future__ import annotations

import logging
import warnings
from functools import lru_cache

import onnx
import onnx.numpy_helper
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F  # noqa: N812

from features.training_options import SequenceOptions
from training.rankers.sequence import GAPS


class Block(nn.Module):
    """Causal self-attention, then a small network per place (their sec. 3.2).

    The layer norm comes first in both, as in GPT-2: it learns without a long warm-up.
    """

    def __init__(self, options: SequenceOptions) -> None:
        super().__init__()
        factors = options.factors
        self.heads, self.dropout = options.heads, options.dropout
        self.norm_attention = nn.LayerNorm(factors)
        self.query_key_value = nn.Linear(factors, 3 * factors)
        self.join = nn.Sequential(nn.Linear(factors, factors), nn.Dropout(options.dropout))
        self.network = nn.Sequential(
            nn.LayerNorm(factors), nn.Linear(factors, factors), nn.ReLU(),
            nn.Dropout(options.dropout), nn.Linear(factors, factors), nn.Dropout(options.dropout),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(n, l, factors) -> (n, l, factors); every place sees itself and what was before it."""
        x = x + self._attention(self.norm_attention(x))
        found: Tensor = x + self.network(x)
        return found

    def _attention(self, x: Tensor) -> Tensor:
        n, length, factors = x.shape
        parts = self.query_key_value(x).view(n, length, 3, self.heads, factors // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind()
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        joined: Tensor = self.join(seen.transpose(1, 2).reshape(n, length, factors))
        return joined


class Reader(nn.Module):
    """From the vectors of a history's items to what each place says of the next item."""

    def __init__(self, options: SequenceOptions) -> None:
        super().__init__()
        self.places = nn.Embedding(options.length, options.factors)
        self.gaps = nn.Embedding(GAPS, options.factors)
        self.dropout = nn.Dropout(options.dropout)
        self.blocks = nn.Sequential(*[Block(options) for _ in range(options.layers)])
        self.norm = nn.LayerNorm(options.factors)

    def forward(self, vectors: Tensor, gaps: Tensor) -> Tensor:
        """(n, l, factors) float32 and (n, l) int64 -> (n, l, factors)."""
        places = self.places(torch.arange(vectors.shape[1], device=vectors.device))
        states: Tensor = self.norm(self.blocks(self.dropout(vectors + places + self.gaps(gaps))))
        return states


class SequenceNet(nn.Module):
    """Items that are read and items that are foretold have the same vectors (their sec. 3.3)."""

    def __init__(self, options: SequenceOptions, n_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items, options.factors)
        self.reader = Reader(options)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)  # as GPT-2

    def forward(self, items: Tensor, gaps: Tensor) -> Tensor:
        """(n, l) int64 each, padded on the right -> (n, l, factors)."""
        states: Tensor = self.reader(self.items(items), gaps)
        return states


class _LastState(nn.Module):
    """What is exported: the state after the last item of each history."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader

    def forward(self, vectors: Tensor, gaps: Tensor, lengths: Tensor) -> Tensor:
        states: Tensor = self.reader(vectors, gaps)
        last = (lengths - 1).view(-1, 1, 1).expand(-1, 1, states.shape[2])
        return states.gather(1, last).squeeze(1)


def exported(reader: Reader, options: SequenceOptions) -> bytes:
    """The reader as an ONNX graph for any number of histories of any length up to the longest.

    Tracing costs seconds, and the graph depends on nothing but the shape of the network: it is
    traced once per shape, and each reader's weights are written into a copy.
    """
    graph = onnx.ModelProto()
    graph.CopyFrom(_traced(options.factors, options.layers, options.heads, options.length))
    weights = _LastState(reader).state_dict()
    for tensor in graph.graph.initializer:
        if tensor.name in weights:
            values = weights[tensor.name].detach().cpu().numpy()
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    filled: bytes = graph.SerializeToString()
    return filled


@lru_cache(maxsize=8)
def _traced(factors: int, layers: int, heads: int, length: int) -> onnx.ModelProto:
    """The graph of a reader of this shape; not optimised, so that its weights keep their names."""
    options = SequenceOptions(factors=factors, layers=layers, heads=heads, length=length)
    example = (
        torch.zeros(3, 2, factors), torch.zeros(3, 2, dtype=torch.int64), torch.full((3,), 2),
    )  # fmt: skip
    n, places = Dim("n"), Dim("l", max=length)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells of what is not installed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about torch itself
        program = torch.onnx.export(
            _LastState(Reader(options)).eval(), example, dynamo=True, verbose=False, optimize=False,
            input_names=["vectors", "gaps", "lengths"], output_names=["state"],
            dynamic_shapes=({0: n, 1: places}, {0: n, 1: places}, {0: n}),
        )  # fmt: skip
    if program is None:
        raise RuntimeError("torch.onnx.export made no graph; is this version of torch supported?")
    return program.model_proto
