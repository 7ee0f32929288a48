"""One thread and one seed for every test, im2col switched on within it, and no trace of it after."""

import pytest
import torch

import im2col.torch


@pytest.fixture(autouse=True)
def _start():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    im2col.torch.disable()
    im2col.torch.reset_stats()
    yield
    im2col.torch.disable()


@pytest.fixture
def on():
    """im2col's kernels, and the counts of what they and PyTorch's have done since."""
    im2col.torch.enable()
    im2col.torch.reset_stats()
    yield im2col.torch.stats


def same_strides(a, b):
    """The stride of an axis of size 1 says nothing."""
    return all(x == y for x, y, size in zip(a.stride(), b.stride(), a.shape) if size > 1)


def assert_near(ours, torchs, tolerance=None):
    """Equal up to rounding: by default a few thousand units in the last place of the largest element."""
    if torchs is None or ours is None:
        assert ours is torchs
        return
    assert ours.shape == torchs.shape and ours.dtype == torchs.dtype
    if torchs.numel():
        tolerance = tolerance or (1e-4 if torchs.dtype == torch.float32 else 1e-12)
        ours, torchs = ours.detach(), torchs.detach()
        assert float((ours - torchs).abs().max()) <= tolerance * max(1.0, float(torchs.abs().max()))
