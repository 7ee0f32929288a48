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
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
import torch.utils._python_dispatch

from im2col._library import checked, ffi, lib

__all__ = ["disable", "enable", "enabled", "explain", "freeze", "is_enabled", "reset_stats", "stats", "unfreeze"]

Accuracy = Literal["element", "tile2", "tile"]

_OLDEST = (2, 10)
# As in `Reason` of src/layer.rs.
_REASONS = ("dtype", "storage", "axes", "empty", "output_padding", "invalid")

_ACCURACIES = ("element", "tile2", "tile")

_enabled = False
_accuracy: Accuracy = "element"
# What forgets a frozen weight when its tensor dies, by the address of its elements.
_frozen: dict[int, weakref.finalize[Any, Any]] = {}
# The fallback's registration, for as long as the process lives.
_fallback: torch.library.Library | None = None


def enable(accuracy: Accuracy = "element") -> None:
    """Makes im2col's kernels those of every CPU convolution of this process. A second call sets the accuracy anew.

    Args:
        accuracy: which error bound results keep. ``"element"``: each element's own products alone, as a plain sum has
            it. ``"tile2"`` and ``"tile"`` also allow Winograd's algorithm with tiles of 2, or of up to 4 outputs an
            axis: fastest for layers of 3x3, with rounding errors of a few times as many units in the last place.

    Raises:
        RuntimeError: this PyTorch is older than 2.10, or lacks what the kernels call.
        ValueError: another accuracy.
    """
    global _enabled, _accuracy
    if accuracy not in _ACCURACIES:
        raise ValueError(f"accuracy {accuracy!r}: {', '.join(map(repr, _ACCURACIES))} are allowed")
    found = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if found < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        raise RuntimeError(f"im2col.torch needs PyTorch {wanted} or newer: this is {torch.__version__}")
    _keep_torchs_own()
    checked(lib.im2col_torch_enable, _libtorch().encode())
    lib.im2col_torch_set_accuracy(_ACCURACIES.index(accuracy))
    _enabled, _accuracy = True, accuracy


def disable() -> None:
    """Gives the convolutions back to PyTorch. Without :func:`enable` before it does nothing."""
    global _enabled
    lib.im2col_torch_disable()
    _enabled = False


def is_enabled() -> bool:
    """Whether convolutions run on im2col."""
    return _enabled


@contextlib.contextmanager
def enabled(accuracy: Accuracy = "element") -> Iterator[None]:
    """im2col's kernels within a ``with`` block; after it, what was before. It concerns all threads of the process."""
    before = _accuracy if _enabled else None
    enable(accuracy)
    try:
        yield
    finally:
        if before is None:
            disable()
        else:
            enable(before)


def stats() -> dict[str, object]:
    """How many calls im2col has computed, and how many went to PyTorch and why.

    Returns:
        ``{"forward": calls, "backward": calls, "fallback": {"forward": {reason: calls}, "backward": {..}}, "plans":
        kept, "frozen": weights, "packed": layers that these are packed for}``.
        Reasons: ``dtype`` (not all f32 or all f64), ``storage`` (not in the CPU's memory), ``axes`` (not 1 to 3 spatial
        axes), ``empty`` (a tensor without elements, but for an empty batch), ``output_padding`` (larger than stride and
        padding), ``invalid`` (PyTorch says what is wrong). Those that never happened are left out.
    """
    room = 2 + 2 * len(_REASONS) + 3
    numbers = ffi.new("uint64_t[]", room)
    written = lib.im2col_torch_stats(numbers, room)
    assert written == room, "the library and this file count different things"
    forward, backward, *rest = numbers
    left = {}
    for index, name in enumerate(("forward", "backward")):
        counts = rest[index * len(_REASONS) :]
        left[name] = {reason: count for reason, count in zip(_REASONS, counts) if count}
    plans, frozen, packed = rest[-3:]
    return {
        "forward": forward,
        "backward": backward,
        "fallback": left,
        "plans": plans,
        "frozen": frozen,
        "packed": packed,
    }


def reset_stats() -> None:
    """Sets all counts to 0 and forgets the plans kept."""
    lib.im2col_torch_reset()


def freeze(module: torch.nn.Module) -> torch.nn.Module:
    """Lets the weights of a module's convolutions be packed once, for inference: say it when they are trained.

    A weight that an operator writes into (an optimizer's step, ``load_state_dict``, ``copy_``) is packed anew at its
    next use. Writes that PyTorch doesn't count aren't seen: through ``weight.data``, ``weight.numpy()`` or another
    library. After such a write call ``freeze`` again. Packed weights take as much memory as the weights, for each
    layer shape that uses them, of which the last four are kept; they are freed with the module.

    Returns:
        The module itself.
    """
    for layer in module.modules():
        weight = getattr(layer, "weight", None)
        if isinstance(layer, _CONVOLUTIONS) and isinstance(weight, torch.Tensor) and _can_be_packed(weight):
            _freeze_weight(weight)
    return module


def unfreeze(module: torch.nn.Module) -> torch.nn.Module:
    """Forgets the packed weights of a module, which it returns."""
    for layer in module.modules():
        weight = getattr(layer, "weight", None)
        if isinstance(layer, _CONVOLUTIONS) and isinstance(weight, torch.Tensor) and _can_be_packed(weight):
            finalizer = _frozen.pop(weight.data_ptr(), None)
            if finalizer is not None:
                finalizer()
    return module


_CONVOLUTIONS = (
    torch.nn.Conv1d,
    torch.nn.Conv2d,
    torch.nn.Conv3d,
    torch.nn.ConvTranspose1d,
    torch.nn.ConvTranspose2d,
    torch.nn.ConvTranspose3d,
)


def _can_be_packed(weight: torch.Tensor) -> bool:
    kinds = (torch.float32, torch.float64)
    strided = weight.layout == torch.strided and weight.device.type == "cpu"
    return strided and weight.dtype in kinds and weight.numel() > 0 and not weight.is_inference()


def _freeze_weight(weight: torch.Tensor) -> None:
    checked(lib.im2col_torch_load, _libtorch().encode())
    address = weight.data_ptr()
    finalizer = _frozen.pop(address, None)
    if finalizer is not None:
        finalizer()
    handle = torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors([weight.detach()])[0]
    checked(lib.im2col_torch_freeze, _address_of(handle))
    _frozen[address] = weakref.finalize(weight, _thaw, address)
    _frozen[address].atexit = False


def _thaw(address: int) -> None:
    _frozen.pop(address, None)
    lib.im2col_torch_thaw(address)


def _address_of(capsule: Any) -> int:
    """The pointer in a capsule of PyTorch's."""
    import ctypes

    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return int(get(capsule, None))


def explain(module: torch.nn.Module, input_size: Sequence[int], dtype: torch.dtype = torch.float32) -> str:
    """What im2col chooses for each convolution that a module runs on an input of this size, in words.

    The module is run once, on zeros, in inference and with its own kernels; nothing of it changes. A convolution that
    is left to PyTorch has the reason instead.
    """
    seen = _Convolutions()
    training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad(), seen:
            module(torch.zeros(*input_size, dtype=dtype))
    finally:
        for part, mode in training.items():
            part.training = mode
    return "\n".join(seen.words)


class _Convolutions(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes what is chosen for each convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            head = (
                f"{len(self.words) + 1}: input {list(args[0].shape)}, weight {list(args[1].shape)} -> {list(out.shape)}"
            )
            self.words.append(f"{head}\n{_explained(out, *args)}")
        return out


def _explained(
    out: Any,
    x: Any,
    w: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: Any,
    extra: Any,
    groups: Any,
) -> str:
    if x.dtype not in (torch.float32, torch.float64) or x.device.type != "cpu" or x.layout != torch.strided:
        return f"left to PyTorch: {x.dtype} on {x.device}"
    axes = x.dim() - 2
    spread = lambda values: list(values) * axes if len(values) == 1 else list(values)
    three = lambda values, rest: [*values, *[rest] * (3 - axes)]
    # A transposed layer is the mirror of the convolution whose input is its output.
    image, source = (out, w.shape[1] * groups) if transposed else (x, x.shape[1])
    last = any(t.dim() > 3 and not t.is_contiguous() for t in (x, w))
    layer = ffi.new(
        "Im2colLayer *",
        {
            "axes": axes,
            "bits": x.element_size() * 8,
            "channels_last": last,
            "accuracy": _ACCURACIES.index(_accuracy),
            "threads": torch.get_num_threads(),
            "batch": x.shape[0],
            "in_channels": source,
            "out_channels": w.shape[0],
            "groups": groups,
            "input": three(image.shape[2:], 1),
            "kernel": three(w.shape[2:], 1),
            "stride": three(spread(stride), 1),
            "dilation": three(spread(dilation), 1),
            "pad_begin": three(spread(padding), 0),
            "pad_end": three(spread(padding), 0),
        },
    )
    room = 1 << 14
    words = ffi.new("char[]", room)
    lib.im2col_array_explain(layer, words, room)
    return ffi.string(words).decode(errors="replace")


def _libtorch() -> str:
    """The library of PyTorch's that holds the dispatcher, by the name that it was loaded under."""
    folder = os.path.join(os.path.dirname(torch.__file__), "lib")
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return path
    raise RuntimeError(f"no libtorch_cpu in {folder}: im2col.torch runs on Linux and macOS")


def _keep_torchs_own() -> None:
    """Registers PyTorch's own backward kernel under a name of ours, by which it is called where it is wanted."""
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
