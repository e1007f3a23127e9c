"""The list that a mailing is for: a table with one row per recipient."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from serving.mailing.recipients import Given
from serving.mailing.run import Listed
from training.requests import as_id

_KNOWN = ("user_id", "first_name", "language", "consent_email", "email_frequency_per_week")
_YES, _NO = {"true", "yes", "1", "y"}, {"false", "no", "0", "n"}


def read_list(file: Path) -> Listed:
    """Recipients by `user_id`, from Parquet or CSV; what else it says goes before the model's word.

    Other columns are first_name, language, consent_email and email_frequency_per_week; an empty
    cell says nothing. Raises ValueError, which names the file, the row and what to do.
    """
    table = _table(file)
    if "user_id" not in table.column_names:
        raise ValueError(f"{file} has no column user_id; it has {table.column_names}")
    ids = [None if one is None else as_id(one) for one in table["user_id"].to_pylist()]
    seen: dict[str, int] = {}
    for row, user_id in enumerate(ids, start=1):
        if not user_id:
            raise ValueError(f"{file}, row {row}: user_id is empty; take the row out")
        if user_id in seen:
            raise ValueError(f"{file}, row {row}: {user_id!r} is in row {seen[user_id]} already; "
                             "nobody gets a mail twice, take one of them out")  # fmt: skip
        seen[user_id] = row
    if not seen:
        raise ValueError(f"{file} names nobody; put somebody on the list, or leave it out: then "
                         "the mailing is for all customers of the model")  # fmt: skip
    more = [name for name in _KNOWN[1:] if name in table.column_names]
    if not more:
        return Listed(list(seen))
    columns = {name: table[name].to_pylist() for name in more}
    given = [
        _given({name: columns[name][row] for name in more}, f"{file}, row {row + 1}")
        for row in range(len(ids))
    ]
    return Listed(list(seen), given)


def _table(file: Path) -> pa.Table:
    if not file.exists():
        raise ValueError(f"--recipients {file} does not exist")
    try:
        if file.suffix == ".csv":
            texts = csv.ConvertOptions(column_types=dict.fromkeys(_KNOWN, pa.string()))
            return csv.read_csv(file, convert_options=texts)
        return pq.read_table(file)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file} is neither Parquet nor a .csv file: {error}") from None


def _given(cells: dict[str, Any], where: str) -> Given:
    return Given(
        first_name=_text(cells.get("first_name")), language=_text(cells.get("language")),
        consent_email=_flag(cells.get("consent_email"), where),
        mails_per_week=_number(cells.get("email_frequency_per_week"), where),
    )  # fmt: skip


def _text(cell: Any) -> str | None:
    return None if cell is None or not str(cell).strip() else str(cell).strip()


def _flag(cell: Any, where: str) -> bool | None:
    told = "" if cell is None else str(cell).strip().lower()
    if told in _YES | _NO:
        return told in _YES
    if told:
        raise ValueError(f"{where}: consent_email {cell!r} is neither yes nor no")
    return None


def _number(cell: Any, where: str) -> float | None:
    if cell is None or str(cell).strip() == "":
        return None
    try:
        found = float(cell)
    except ValueError:
        found = math.nan
    if not found >= 0 or math.isinf(found):
        raise ValueError(f"{where}: email_frequency_per_week {cell!r} is no number from 0 on")
    return found
