"""Whole networks: outputs and gradients against PyTorch's own, in f64 so that only mistakes differ, and in f32."""

import pytest
import torch
import torch.nn.functional as F
from conftest import assert_near

import im2col.torch

torchvision = pytest.importorskip("torchvision")

MODELS = ["resnet18", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5", "squeezenet1_1", "regnet_y_400mf"]


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("name", MODELS)
def test_torchvision(name, channels_last):
    agree(torchvision.models.get_model(name, num_classes=10), channels_last)


@pytest.mark.parametrize("name", ["convnext_atto", "resnet10t", "mobilenetv4_conv_small"])
def test_timm(name):
    timm = pytest.importorskip("timm")
    agree(timm.create_model(name, num_classes=10), False)


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vgg11"])
def test_f32(name, channels_last):
    agree(torchvision.models.get_model(name, num_classes=10), channels_last, torch.float32, 2e-3)


def agree(model, channels_last, dtype=torch.float64, tolerance=1e-9):
    form = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(dtype).eval().to(memory_format=form)
    x = torch.randn(2, 3, 64, 64, dtype=dtype).to(memory_format=form)

    def run():
        model.zero_grad()
        y = model(x)
        F.cross_entropy(y, torch.tensor([1, 2])).backward()
        return [y, *[p.grad for p in model.parameters()]]

    torchs = [t.clone() for t in run() if t is not None]
    with im2col.torch.enabled():
        ours = [t for t in run() if t is not None]
    stats = im2col.torch.stats()
    assert stats["forward"] > 0 and stats["forward"] == stats["backward"] and not any(stats["fallback"].values())
    for a, b in zip(ours, torchs, strict=True):
        assert_near(a, b, tolerance)
