"""The convolution layer on CPUs, written in Rust.

- ``im2col.torch``: PyTorch's convolutions on these kernels, with one line:
  ``import im2col.torch; im2col.torch.enable()``
- ``im2col.conv1d``, ``conv2d``, ``conv3d`` and their gradients: over numpy arrays, without copies

Neither PyTorch nor numpy is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from im2col.numpy import *  # noqa: F403

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """The functions of ``im2col.numpy``, which is imported with the first of them."""
    import importlib

    if name in ("numpy", "torch"):
        return importlib.import_module(f"im2col.{name}")
    module = importlib.import_module("im2col.numpy") if name.startswith("conv") or name == "set_num_threads" else None
    if module is None or name not in module.__all__:
        raise AttributeError(f"module 'im2col' has no attribute {name!r}")
    return getattr(module, name)
