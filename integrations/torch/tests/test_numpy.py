"""numpy's arrays: right results, in place, and errors that say what is wrong."""

import itertools

import numpy as np
import pytest
import torch

import im2col

NAMES = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}


def call(name, *arguments, **options):
    return getattr(im2col, name)(*arguments, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_against_torch(axes, last, dtype):
    random = np.random.default_rng(0)
    for stride, dilation, groups in itertools.product([1, 2], [1, 2], [1, 2]):
        x = random.standard_normal((2, 4, *[9] * axes)).astype(dtype)
        w = random.standard_normal((6, 4 // groups, *[3] * axes)).astype(dtype)
        b = random.standard_normal(6).astype(dtype)
        tx, tw = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
        y = NAMES[axes](tx, tw, torch.tensor(b), stride, 1, dilation, groups)
        dy = random.standard_normal(tuple(y.shape)).astype(dtype)
        dx, dw = torch.autograd.grad(y, (tx, tw), torch.tensor(dy))
        turn = (lambda a: np.ascontiguousarray(np.moveaxis(a, 1, -1))) if last else (lambda a: a)
        options = dict(
            stride=stride,
            padding=1,
            dilation=dilation,
            groups=groups,
            layout="channels_last" if last else "channels_first",
        )
        x, w, dy = turn(x), turn(w), turn(dy)
        near = lambda found, wanted: np.testing.assert_allclose(
            found, turn(wanted.detach().numpy()), rtol=1e-4, atol=1e-4
        )
        near(call(f"conv{axes}d", x, w, b, **options), y)
        near(call(f"conv{axes}d_backward_data", w, dy, x.shape, **options), dx)
        near(call(f"conv{axes}d_backward_weight", x, dy, w.shape, **options), dw)


def test_in_place_and_padding():
    x, w = np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 2, 2), np.float32)
    out = np.empty((1, 1, 3, 3), np.float32)
    assert im2col.conv2d(x, w, padding="same", out=out) is out
    assert out[0, 0].tolist() == [[4, 4, 2], [4, 4, 2], [2, 2, 1]]
    assert im2col.conv2d(x, w, padding=[(1, 0), (0, 1)]).shape == (1, 1, 3, 3)


@pytest.mark.parametrize(
    "change, error, words",
    [
        (dict(x=np.ones((1, 3, 5, 5), np.int32)), TypeError, "int32"),
        (dict(x=np.ones((1, 3, 5), np.float32)), ValueError, "conv2d wants 4 axes"),
        (dict(x=np.ones((1, 2, 5, 5), np.float32)), ValueError, r"\(1, 2, 5, 5\) and weight \(4, 3, 2, 2\)"),
        (dict(x=np.ones((1, 3, 1, 5), np.float32)), ValueError, "doesn't fit"),
        (dict(x=np.ones((0, 3, 5, 5), np.float32)), ValueError, "at least 1"),
        (dict(bias=np.ones(3, np.float32)), ValueError, "bias"),
        (dict(stride=0), ValueError, "stride"),
        (dict(padding=-1), ValueError, "padding"),
        (dict(groups=0), ValueError, "groups"),
        (dict(layout="nhwc"), ValueError, "channels_last"),
        (dict(accuracy="low"), ValueError, "tile2"),
        (dict(out=np.ones((1, 4, 4, 5), np.float32)), ValueError, "out of shape"),
    ],
)
def test_errors(change, error, words):
    arguments = dict(x=np.ones((1, 3, 5, 5), np.float32), w=np.ones((4, 3, 2, 2), np.float32)) | change
    with pytest.raises(error, match=words):
        im2col.conv2d(**arguments)


def test_out_may_not_overlap():
    x = np.ones((1, 1, 4, 4), np.float32)
    with pytest.raises(ValueError, match="shares memory"):
        im2col.conv2d(x, np.ones((1, 1, 1, 1), np.float32), out=x)
