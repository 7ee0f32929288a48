"""The compiled library, and how its errors become exceptions."""

from __future__ import annotations

from typing import Any, Callable

from im2col._native import ffi, lib

__all__ = ["ffi", "lib", "checked"]

_ROOM = 4096


def checked(function: Callable[..., int], *arguments: Any) -> None:
    """Calls a function that returns 0, or leaves the words of its error in a buffer."""
    message = ffi.new("char[]", _ROOM)
    if function(*arguments, message, _ROOM) != 0:
        raise RuntimeError(ffi.string(message).decode(errors="replace"))
