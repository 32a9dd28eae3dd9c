"""Whether compressed voxels are whole: gzip and zlib carry a check sum, which not every reader looks at."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from unimiss.errors import InputError

_PIECE = 2**20  # bytes
_GZIP = b"\x1f\x8b"


def refuse_damaged(file: BinaryIO, expected: int) -> None:
    """Inflate the rest of a file piece by piece, and keep nothing of it.

    Parameters
    ----------
    file : binary file
        At the beginning of gzip or zlib data.
    expected : int
        Bytes that they should hold.

    Raises
    ------
    InputError
        They hold fewer; the header's shape is wrong, or the end is missing.
    ValueError, OSError, EOFError
        The data are cut off or contradict their check sum.
    """
    held = 0
    for piece in _inflated(file):
        held += len(piece)
        if held > expected + _PIECE:
            return  # whatever comes now is not read
    if held < expected:
        raise InputError(f"its voxels are {held} bytes, and its header says {expected}; copy it again")


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    start = file.tell()
    zipped = file.read(2) == _GZIP
    file.seek(start)
    if zipped:
        with gzip.GzipFile(fileobj=file) as inside:
            while piece := inside.read(_PIECE):
                yield piece
        return
    decoder = zlib.decompressobj()
    try:
        while not decoder.eof:
            source = decoder.unconsumed_tail or file.read(_PIECE)
            piece = decoder.decompress(source, _PIECE)
            if not source and not piece:
                raise EOFError("its compressed voxels are cut off")
            yield piece
    except zlib.error as error:
        raise ValueError("its compressed voxels contradict their check sum") from error
