"""PyTorch's convolutions on im2col's kernels.

>>> import im2col.torch
>>> im2col.torch.enable()

From then on every f32 and f64 convolution on the CPU runs on im2col: ``torch.nn`` layers, ``torch.nn.functional``,
transposed ones, gradients, compiled and exported models. Nothing else changes: models, ``state_dict``, autograd,
``autocast``, ``vmap`` and other devices stay as they are. What im2col doesn't compute (bfloat16, float16, complex,
sparse) goes to PyTorch's own kernel and is counted in :func:`stats`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from im2col._library import checked, ffi, lib

__all__ = ["disable", "enable", "enabled", "is_enabled", "stats", "reset_stats"]

_OLDEST = (2, 10)
# As in `Reason` of src/layer.rs.
_REASONS = ("dtype", "storage", "axes", "empty", "output_padding", "invalid")

_enabled = False
# The fallback's registration, for as long as the process lives.
_fallback: torch.library.Library | None = None


def enable() -> None:
    """Makes im2col's kernels those of every CPU convolution of this process. A second call changes nothing.

    Raises:
        RuntimeError: this PyTorch is older than 2.10, or lacks what the kernels call.
    """
    global _enabled
    found = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if found < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        raise RuntimeError(f"im2col.torch needs PyTorch {wanted} or newer: this is {torch.__version__}")
    _keep_torchs_own()
    checked(lib.im2col_torch_enable, _libtorch().encode())
    _enabled = True


def disable() -> None:
    """Gives the convolutions back to PyTorch. Without :func:`enable` before it does nothing."""
    global _enabled
    lib.im2col_torch_disable()
    _enabled = False


def is_enabled() -> bool:
    """Whether convolutions run on im2col."""
    return _enabled


@contextlib.contextmanager
def enabled() -> Iterator[None]:
    """im2col's kernels within a ``with`` block; after it, what was before. It concerns all threads of the process."""
    before = _enabled
    enable()
    try:
        yield
    finally:
        if not before:
            disable()


def stats() -> dict[str, object]:
    """How many calls im2col has computed, and how many went to PyTorch and why.

    Returns:
        ``{"forward": calls, "backward": calls, "fallback": {"forward": {reason: calls}, "backward": {..}}, "plans": kept}``.
        Reasons: ``dtype`` (not all f32 or all f64), ``storage`` (not in the CPU's memory), ``axes`` (not 1 to 3 spatial
        axes), ``empty`` (a tensor without elements, but for an empty batch), ``output_padding`` (larger than stride and
        padding), ``invalid`` (PyTorch says what is wrong). Those that never happened are left out.
    """
    room = 2 + 2 * len(_REASONS) + 1
    numbers = ffi.new("uint64_t[]", room)
    written = lib.im2col_torch_stats(numbers, room)
    assert written == room, "the library and this file count different things"
    forward, backward, *rest = numbers
    left = {}
    for index, name in enumerate(("forward", "backward")):
        counts = rest[index * len(_REASONS) :]
        left[name] = {reason: count for reason, count in zip(_REASONS, counts) if count}
    return {"forward": forward, "backward": backward, "fallback": left, "plans": rest[-1]}


def reset_stats() -> None:
    """Sets all counts to 0 and forgets the plans kept."""
    lib.im2col_torch_reset()


def _libtorch() -> str:
    """The library of PyTorch's that holds the dispatcher, by the name that it was loaded under."""
    folder = os.path.join(os.path.dirname(torch.__file__), "lib")
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return path
    raise RuntimeError(f"no libtorch_cpu in {folder}: im2col.torch runs on Linux and macOS")


def _keep_torchs_own() -> None:
    """Registers PyTorch's own backward kernel under a name of ours: where it is what is wanted, it is called by that."""
    global _fallback
    if _fallback is not None:
        return
    kernel = torch.library.get_kernel("aten::convolution_backward", "CPU")
    library = torch.library.Library("im2col", "DEF")
    schema = str(torch.ops.aten.convolution_backward.default._schema)
    library.define(schema.removeprefix("aten::").replace("SymInt", "int"))
    library.impl(
        "convolution_backward",
        lambda keys, *arguments: kernel.call_boxed(keys, *arguments),
        "CompositeExplicitAutograd",
        with_keyset=True,
    )
    _fallback = library
