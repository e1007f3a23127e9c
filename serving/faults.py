"""What is wrong with a request: the place and the rule, and nothing of what was sent."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

MOST = 20  # faults that are told one by one
MOST_LETTERS = 100  # of a name in a place: an unknown field may be called anything
TOO_MANY = 20_000  # faults of one request: to list them would cost more than the request did


def faults(error: ValidationError) -> list[dict[str, Any]]:
    """The first of them, each as `type`, `loc` and `msg`; the last says how many more there are."""
    count = error.error_count()
    if count > TOO_MANY:
        return [_more(count)]
    found = error.errors(include_url=False, include_context=False, include_input=False)
    told = [{"type": one["type"], "loc": _short(one["loc"]), "msg": one["msg"]}
            for one in found[:MOST]]  # fmt: skip
    return told + [_more(count - MOST)] * (count > MOST)


def without_values(error: ValidationError) -> ValidationError:
    """The same error, made of its `faults`: neither an answer nor a log can show more."""
    lines = [
        InitErrorDetails(
            type=PydanticCustomError(one["type"], one["msg"].replace("{", "(").replace("}", ")")),
            loc=one["loc"], input=None,
        )
        for one in faults(error)
    ]  # fmt: skip
    return ValidationError.from_exception_data(error.title, lines)


def _more(count: int) -> dict[str, Any]:
    return {"type": "more", "loc": (), "msg": f"there are {count:,} more faults"}


def _short(place: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return tuple(one[:MOST_LETTERS] if isinstance(one, str) else one for one in place)
