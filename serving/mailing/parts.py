"""The finished parts of a mailing on disk, and the record that says what they are parts of."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.home import written_beside
from serving.mailing.blocks import Blocks

RECORD = "mailing.json"
_TEXTS = pa.list_(pa.string())
PART = pa.schema(
    {
        "user_id": pa.string(), "pseudonym": pa.string(), "placement": pa.string(),
        "decision": pa.string(), "reason": pa.string(), "rung": pa.string(),
        "decision_id": pa.string(), "segment": pa.string(), "stage": pa.string(),
        "language": pa.string(), "message": pa.string(), "headline": pa.string(),
        "arms": pa.string(), "item_ids": _TEXTS, "item_rungs": _TEXTS, "rankers": _TEXTS,
        "item_reasons": _TEXTS, "marks": pa.list_(_TEXTS),
    }
)  # fmt: skip
_FIELDS = {name: name if name.endswith("s") else f"{name}s" for name in PART.names}  # of Blocks
_json = msgspec.json.Encoder(order="deterministic")
_arms = msgspec.json.Decoder(dict[str, str])


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a directory holds the parts of.

    mailing:    its name            at_us: when it was decided, since 1970 UTC
    as_of:      the model's moment  placements: of each recipient, in this order
    recipients: of the whole list, with or without a mail
    chunk:      recipients of one part; the last may have fewer
    digest:     of the list and of what the config says of mails: another one is another mailing
    counts:     False: a trial, of which nothing is remembered
    written_us: when it was begun, by the wall's clock: links run from here
    """

    mailing: str
    model_version: str
    rules_version: str
    as_of: str
    at_us: int
    placements: tuple[str, ...]
    recipients: int
    chunk: int
    digest: str = ""
    counts: bool = True
    written_us: int = 0

    def write(self, out: Path) -> None:
        """As OUT/mailing.json, all or nothing."""
        with written_beside(out / RECORD) as beside:
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @classmethod
    def read(cls, out: Path) -> Record | None:
        """The record of a directory; None: there is none. A ValueError says what is wrong."""
        file = out / RECORD
        try:
            return msgspec.json.decode(file.read_bytes(), type=cls)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{file}: {error}; it is no record of a mailing: choose another --out"
            ) from None


def parts(out: Path) -> list[Path]:
    """The finished parts in their order; what was interrupted is none of them."""
    found = (out / "parts").glob("[0-9]*.parquet")
    return sorted(found, key=lambda file: int(file.stem))


def part_file(out: Path, number: int) -> Path:
    """Where a part lies; numbers from 0."""
    return out / "parts" / f"{number:05}.parquet"


def write_part(out: Path, number: int, blocks: Blocks) -> None:
    """Write one part, all or nothing."""
    with written_beside(part_file(out, number)) as beside:
        pq.write_table(as_table(blocks), beside, compression="zstd")


def as_table(blocks: Blocks) -> pa.Table:
    """The blocks as a table of PART; arms are JSON text."""
    columns = {name: getattr(blocks, own) for name, own in _FIELDS.items()}
    columns["arms"] = [_json.encode(one).decode() for one in blocks.arms]
    return pa.table(columns, schema=PART)


def as_blocks(table: pa.Table) -> Blocks:
    """The blocks of a table of PART."""
    columns = {own: _listed(table[name].combine_chunks()) for name, own in _FIELDS.items()}
    columns["arms"] = [_arms.decode(one) for one in columns["arms"]]
    return Blocks(**columns)


def tables(out: Path, record: Record) -> Iterator[pa.Table]:
    """All parts, one after the other.

    Raises ValueError where they are not what the record says: some missing, or of another mailing.
    """
    each, found = len(record.placements), 0
    for file in parts(out):
        table = pq.read_table(file)
        if table.schema != PART:
            raise ValueError(f"{file}: is no part of a mailing as this version writes them; "
                             "decide the mailing anew, into an empty directory")  # fmt: skip
        placements = table["placement"].combine_chunks()
        if placements.to_pylist() != list(record.placements) * (len(table) // each):
            raise ValueError(f"{file}: its placements are not {', '.join(record.placements)}, as "
                             f"{RECORD} says; was it copied from another mailing?")  # fmt: skip
        found += len(table) // each
        yield table
    if found != record.recipients:
        raise ValueError(
            f"{out}: of {record.recipients:,} recipients {found:,} are decided; the same command "
            "goes on where it was interrupted"
        )


def _listed(column: Any) -> list[Any]:
    """A column of texts or of lists, as Python has them; ten times as fast as `to_pylist`."""
    if not pa.types.is_list(column.type):
        return list(column.to_numpy(zero_copy_only=False))
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    values = _listed(column.flatten())
    return [values[begin:end] for begin, end in pairwise(ends)]
