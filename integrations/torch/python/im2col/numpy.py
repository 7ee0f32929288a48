"""Convolutions and their gradients over numpy arrays.

Arrays are float32 or float64 and C-contiguous: such ones are read and written where they are, without a copy;
others are copied first. Shapes with ``layout="channels_first"``: input ``(N, C, *spatial)``, weight
``(K, C // groups, *kernel)``, output ``(N, K, *spatial)``; with ``"channels_last"``: ``(N, *spatial, C)``,
``(K, *kernel, C // groups)``, ``(N, *spatial, K)``. An axis of the output has
``(input + padding before + padding after - dilation * (kernel - 1) - 1) // stride + 1`` elements.

>>> import im2col, numpy as np
>>> im2col.conv2d(np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 2, 2), np.float32)).tolist()
[[[[4.0, 4.0], [4.0, 4.0]]]]
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, Union

import numpy as np
from numpy.typing import NDArray

from im2col._library import checked, ffi, lib

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv1d_backward_data",
    "conv2d_backward_data",
    "conv3d_backward_data",
    "conv1d_backward_weight",
    "conv2d_backward_weight",
    "conv3d_backward_weight",
    "set_num_threads",
]

Array = NDArray[Any]
Layout = Literal["channels_first", "channels_last"]
PerAxis = Union[int, Sequence[int]]
Padding = Union[int, Sequence[int], Sequence[tuple[int, int]], Literal["same", "valid"]]

_ACCURACY = {"element": 0, "tile2": 1, "tile": 2}
_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_num_threads(threads: int) -> None:
    """Threads of a call, at least 1; at first as many as the process may use cores."""
    global _threads
    if threads < 1:
        raise ValueError(f"{threads} threads: at least 1 is allowed")
    _threads = threads


class _Layer:
    """A layer's sizes, from shapes as numpy prints them."""

    def __init__(self, axes: int, x: Sequence[int], w: Sequence[int], dtype: np.dtype[Any], options: dict[str, Any]):
        self.axes, self.dtype = axes, dtype
        self.last = self._layout(options["layout"])
        for name, shape in (("input", x), ("weight", w)):
            if len(shape) != axes + 2:
                raise ValueError(f"{name} of shape {tuple(shape)}: conv{axes}d wants {axes + 2} axes")
            if min(shape) < 1:
                raise ValueError(f"{name} of shape {tuple(shape)}: every size must be at least 1")
        self.x, self.w = tuple(map(int, x)), tuple(map(int, w))
        (n, c, *image), (k, per_group, *kernel) = self._channels_first(self.x), self._channels_first(self.w)
        groups = int(options["groups"])
        if groups < 1 or c != per_group * groups or k % groups:
            raise ValueError(f"input {self.x} and weight {self.w} don't make a layer of {groups} groups")
        stride = self._per_axis("stride", options["stride"])
        dilation = self._per_axis("dilation", options["dilation"])
        padding = self._padding(options["padding"], kernel, stride, dilation)
        spatial = []
        for axis in range(axes):
            left = image[axis] + sum(padding[axis]) - dilation[axis] * (kernel[axis] - 1) - 1
            if left < 0:
                raise ValueError(f"the kernel of {self.w} doesn't fit into the padded input of {self.x}")
            spatial.append(left // stride[axis] + 1)
        self.y = (n, *spatial, k) if self.last else (n, k, *spatial)
        three = lambda values, rest: [*values, *[rest] * (3 - axes)]
        self.native = ffi.new(
            "Im2colLayer *",
            {
                "axes": axes,
                "bits": dtype.itemsize * 8,
                "channels_last": self.last,
                "accuracy": _ACCURACY[options["accuracy"]],
                "threads": _threads,
                "batch": n,
                "in_channels": c,
                "out_channels": k,
                "groups": groups,
                "input": three(image, 1),
                "kernel": three(kernel, 1),
                "stride": three(stride, 1),
                "dilation": three(dilation, 1),
                "pad_begin": three([begin for begin, _ in padding], 0),
                "pad_end": three([end for _, end in padding], 0),
            },
        )

    @staticmethod
    def _layout(layout: str) -> bool:
        if layout not in ("channels_first", "channels_last"):
            raise ValueError(f"layout {layout!r}: 'channels_first' or 'channels_last' are allowed")
        return layout == "channels_last"

    def _channels_first(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], shape[-1], *shape[1:-1]) if self.last else shape

    def _per_axis(self, name: str, value: PerAxis) -> list[int]:
        values = [value] * self.axes if isinstance(value, (int, np.integer)) else list(value)
        if len(values) != self.axes or min(values) < 1:
            raise ValueError(f"{name} {value}: an integer of at least 1, or {self.axes} of them")
        return [int(v) for v in values]

    def _padding(
        self, padding: Padding, kernel: Sequence[int], stride: list[int], dilation: list[int]
    ) -> list[tuple[int, int]]:
        if padding == "valid":
            return [(0, 0)] * self.axes
        if padding == "same":
            if max(stride) > 1:
                raise ValueError(f"padding 'same' with stride {stride}: only stride 1 is allowed")
            total = [d * (k - 1) for d, k in zip(dilation, kernel)]
            return [(t // 2, t - t // 2) for t in total]
        values = [padding] * self.axes if isinstance(padding, (int, np.integer)) else list(padding)
        pairs = [(v, v) if isinstance(v, (int, np.integer)) else tuple(v) for v in values]
        if len(pairs) != self.axes or any(len(pair) != 2 or min(pair) < 0 for pair in pairs):
            raise ValueError(
                f"padding {padding!r}: an integer of at least 0, one or a pair for each of "
                f"{self.axes} axes, 'same' or 'valid'"
            )
        return [(int(begin), int(end)) for begin, end in pairs]

    def run(
        self, which: int, first: Array, second: Array, shape: tuple[int, ...], bias: Array | None, out: Array | None
    ) -> Array:
        """One pass; the arrays are of the layer's shapes and type."""
        if out is None:
            out = np.empty(shape, self.dtype)
        elif out.shape != shape or out.dtype != self.dtype or not (out.flags.c_contiguous and out.flags.writeable):
            raise ValueError(
                f"out of shape {out.shape} and {out.dtype}: a C-contiguous, writable {shape} of {self.dtype} is wanted"
            )
        if any(array is not None and np.may_share_memory(array, out) for array in (first, second, bias)):
            raise ValueError("out shares memory with an argument")
        at = lambda array: ffi.NULL if array is None else ffi.cast("void *", array.ctypes.data)
        arrays = ffi.new("Im2colArrays *", [at(first), at(second), at(bias), at(out)])
        checked(lib.im2col_array_run, which, self.native, arrays)
        return out


def _arrays(*arrays: Array | None) -> list[Array]:
    """The arrays, C-contiguous, of one type that is float32 or float64."""
    given = [np.asarray(array) for array in arrays if array is not None]
    dtype = given[0].dtype
    if dtype not in (np.float32, np.float64) or any(array.dtype != dtype for array in given):
        found = ", ".join(str(array.dtype) for array in given)
        raise TypeError(f"arrays of {found}: all float32 or all float64 are allowed")
    return [np.ascontiguousarray(array) for array in given]


def _wanted(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} of shape {array.shape}: {shape} is wanted")


def _forward(axes: int, x: Array, w: Array, bias: Array | None, out: Array | None, options: dict[str, Any]) -> Array:
    x, w, *rest = _arrays(x, w, bias)
    layer = _Layer(axes, x.shape, w.shape, x.dtype, options)
    for b in rest:
        _wanted("bias", b, (w.shape[0],))
    return layer.run(0, x, w, layer.y, rest[0] if rest else None, out)


def _backward_data(
    axes: int, w: Array, grad_output: Array, shape: Sequence[int], out: Array | None, options: dict[str, Any]
) -> Array:
    w, dy = _arrays(w, grad_output)
    layer = _Layer(axes, shape, w.shape, w.dtype, options)
    _wanted("grad_output", dy, layer.y)
    return layer.run(1, dy, w, layer.x, None, out)


def _backward_weight(
    axes: int, x: Array, grad_output: Array, shape: Sequence[int], out: Array | None, options: dict[str, Any]
) -> Array:
    x, dy = _arrays(x, grad_output)
    layer = _Layer(axes, x.shape, shape, x.dtype, options)
    _wanted("grad_output", dy, layer.y)
    return layer.run(2, x, dy, layer.w, None, out)


def _options(
    stride: PerAxis, padding: Padding, dilation: PerAxis, groups: int, layout: Layout, accuracy: str
) -> dict[str, Any]:
    if accuracy not in _ACCURACY:
        raise ValueError(f"accuracy {accuracy!r}: {', '.join(map(repr, _ACCURACY))} are allowed")
    return dict(stride=stride, padding=padding, dilation=dilation, groups=groups, layout=layout, accuracy=accuracy)


def conv1d(
    x: Array,
    w: Array,
    bias: Array | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    accuracy: str = "element",
    out: Array | None = None,
) -> Array:
    """Output of 1 spatial axis: of input ``x``, weight ``w`` and ``bias`` ``(K,)``, in ``out`` if given."""
    return _forward(1, x, w, bias, out, _options(stride, padding, dilation, groups, layout, accuracy))


def conv1d_backward_data(
    w: Array,
    grad_output: Array,
    input_shape: Sequence[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    accuracy: str = "element",
    out: Array | None = None,
) -> Array:
    """The gradient of :func:`conv1d`'s input, which has shape ``input_shape``."""
    return _backward_data(
        1, w, grad_output, input_shape, out, _options(stride, padding, dilation, groups, layout, accuracy)
    )


def conv1d_backward_weight(
    x: Array,
    grad_output: Array,
    weight_shape: Sequence[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    accuracy: str = "element",
    out: Array | None = None,
) -> Array:
    """The gradient of :func:`conv1d`'s weight, which has shape ``weight_shape``."""
    return _backward_weight(
        1, x, grad_output, weight_shape, out, _options(stride, padding, dilation, groups, layout, accuracy)
    )


def conv2d(
    x: Array,
    w: Array,
    bias: Array | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    accuracy: str = "element",
    out: Array | None = None,
) -> Array:
    """Output of 2 spatial axes: of input ``x``, weight ``w`` and ``bias`` ``(K,)``, in ``out`` if given."""
    return _forward(2, x, w, bias, out, _options(stride, padding, dilation, groups, layout, accuracy))


def conv2d_backward_data(
    w: Array,
    grad_output: Array,
    input_shape: Sequence[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    accuracy: str = "element",
    out: Array | None = None,
) -> Array:
    """The gradient of :func:`conv2d`'s input, which has shape ``input_shape``."""
    return _backward_data(
        2, w, grad_output, input_shape, out, _options(stride, padding, dilation, groups, layout, accuracy)
    )


def conv2d_backward_weight(
    x: Array,
    grad_output: Array,
    weight_shape: Sequence[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    accuracy: str = "element",
    out: Array | None = None,
) -> Array:
    """The gradient of :func:`conv2d`'s weight, which has shape ``weight_shape``."""
    return _backward_weight(
        2, x, grad_output, weight_shape, out, _options(stride, padding, dilation, groups, layout, accuracy)
    )


def conv3d(
    x: Array,
    w: Array,
    bias: Array | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    accuracy: str = "element",
    out: Array | None = None,
) -> Array:
    """Output of 3 spatial axes: of input ``x``, weight ``w`` and ``bias`` ``(K,)``, in ``out`` if given."""
    return _forward(3, x, w, bias, out, _options(stride, padding, dilation, groups, layout, accuracy))


def conv3d_backward_data(
    w: Array,
    grad_output: Array,
    input_shape: Sequence[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    accuracy: str = "element",
    out: Array | None = None,
) -> Array:
    """The gradient of :func:`conv3d`'s input, which has shape ``input_shape``."""
    return _backward_data(
        3, w, grad_output, input_shape, out, _options(stride, padding, dilation, groups, layout, accuracy)
    )


def conv3d_backward_weight(
    x: Array,
    grad_output: Array,
    weight_shape: Sequence[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    accuracy: str = "element",
    out: Array | None = None,
) -> Array:
    """The gradient of :func:`conv3d`'s weight, which has shape ``weight_shape``."""
    return _backward_weight(
        3, x, grad_output, weight_shape, out, _options(stride, padding, dilation, groups, layout, accuracy)
    )
