"""The numbers of a worker in a file of Prometheus' own format, written and never mapped.

The client's own class maps a sparse file into memory. Where the disk is full the page behind a new
number cannot be had, which is no error there but a bus error: the worker is killed. Here a number
lies in memory and is then written; what cannot be written now is written when it can be.

The format (prometheus_client/mmap_dict.py): the bytes used, int32, and four of padding; then for
each number the length of its key, int32, the key in UTF-8, one to eight blanks up to a multiple
of 8, and the value and a time as float64; in the order of the machine's bytes.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import time

AGAIN_SECONDS = 1.0  # between two attempts to write what could not be written
_HEAD, _LENGTH, _PAIR = struct.Struct("ixxxx"), struct.Struct("i"), struct.Struct("dd")
_log = logging.getLogger("feeds.tallies")


class Tallies:
    """A worker's numbers of one kind by their keys; the client calls it from under a lock."""

    def __init__(self, filename: str) -> None:
        self._name, self._file = filename, -1
        self._places: dict[str, int] = {}
        self._again: float | None = None  # when to try again; None: the file is as the memory
        self._bytes = bytearray(_HEAD.pack(_HEAD.size))
        try:
            self._file = os.open(filename, os.O_RDWR | os.O_CREAT, 0o644)
            self._take_up(os.pread(self._file, os.fstat(self._file).st_size, 0))
        except OSError as error:
            self._late(error)

    def read_value(self, key: str) -> tuple[float, float]:
        """The number and its time; a key that is new is 0 at 0."""
        value, at = _PAIR.unpack_from(self._bytes, self._place(key))
        return float(value), float(at)

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Keep the number, whatever the disk says."""
        place = self._place(key)
        _PAIR.pack_into(self._bytes, place, value, timestamp)
        self._write(place, place + _PAIR.size)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _take_up(self, data: bytes) -> None:
        """What a worker of this name has counted; a file that is cut off counts up to there."""
        used = min(_HEAD.unpack_from(data)[0], len(data)) if len(data) >= _HEAD.size else 0
        begin = _HEAD.size
        while begin + _LENGTH.size <= used:
            length = _LENGTH.unpack_from(data, begin)[0]
            place = begin + _to_the_number(length)
            if length < 0 or place + _PAIR.size > used:
                break
            start = begin + _LENGTH.size
            key = data[start : start + length].decode(errors="replace")
            self._places[key], begin = place, place + _PAIR.size
        self._bytes += data[_HEAD.size : begin]
        _HEAD.pack_into(self._bytes, 0, len(self._bytes))

    def _place(self, key: str) -> int:
        """Where its number is."""
        if (place := self._places.get(key)) is not None:
            return place
        text, begin = key.encode(), len(self._bytes)
        padded = text.ljust(_to_the_number(len(text)) - _LENGTH.size)
        self._bytes += _LENGTH.pack(len(text)) + padded + bytes(_PAIR.size)
        self._write(begin, len(self._bytes))
        _HEAD.pack_into(self._bytes, 0, len(self._bytes))
        self._write(0, _HEAD.size)  # readers know of it once it is there
        self._places[key] = place = len(self._bytes) - _PAIR.size
        return place

    def _write(self, begin: int, end: int) -> None:
        """Bring these bytes to the file; where some are late, all of them."""
        if late := self._again is not None:
            if time.monotonic() < self._again:
                return
            begin, end = _HEAD.size, len(self._bytes)
        try:
            self._put(begin, end)
            if late:
                self._put(0, _HEAD.size)
        except OSError as error:
            self._late(error)
        else:
            self._again = None

    def _put(self, begin: int, end: int) -> None:
        if self._file < 0:
            self._file = os.open(self._name, os.O_RDWR | os.O_CREAT, 0o644)
        if os.pwrite(self._file, self._bytes[begin:end], begin) < end - begin:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _late(self, error: OSError) -> None:
        if self._again is None:
            _log.error("metrics wait in memory: %s: %s", self._name, error)
        self._again = time.monotonic() + AGAIN_SECONDS


def _to_the_number(length: int) -> int:
    """Bytes from the beginning of an entry to its number; a key has one blank at least."""
    return _LENGTH.size + length + 8 - (length + _LENGTH.size) % 8
