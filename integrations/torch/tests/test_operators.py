"""Every sample of PyTorch's own lists, random layers of all kinds, and gradients of gradients."""

import random

import pytest
import torch
from conftest import assert_near, same_strides
from torch.testing._internal.common_methods_invocations import op_db

import im2col.torch

OPERATORS = {
    "nn.functional.conv1d",
    "nn.functional.conv2d",
    "nn.functional.conv3d",
    "nn.functional.conv_transpose1d",
    "nn.functional.conv_transpose2d",
    "nn.functional.conv_transpose3d",
}
INFOS = [info for info in op_db if info.name in OPERATORS]


def outcome(function, tensors):
    """Output and gradients; cotangents differ from element to element."""
    output = function()
    wanted = [t for t in tensors if isinstance(t, torch.Tensor) and t.requires_grad]
    if not wanted or not output.requires_grad:
        return [output]
    torch.manual_seed(1)
    cotangent = torch.randn_like(output.detach().contiguous())
    return [output, *torch.autograd.grad(output, wanted, cotangent, allow_unused=True)]


def test_there_are_six_operators():
    assert {info.name for info in INFOS} == OPERATORS


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name.rpartition(".")[2])
def test_opinfo_samples(info, dtype):
    samples = 0
    for sample in info.sample_inputs("cpu", dtype, requires_grad=True):
        tensors = [sample.input, *sample.args, *sample.kwargs.values()]
        run = lambda: info(sample.input, *sample.args, **sample.kwargs)
        torchs = outcome(run, tensors)
        with im2col.torch.enabled():
            ours = outcome(run, tensors)
        for a, b in zip(ours, torchs, strict=True):
            assert_near(a, b)
            assert a is None or same_strides(a, b)
        samples += 1
    assert samples > 0
    stats = im2col.torch.stats()
    assert stats["forward"] > samples // 2 and stats["fallback"]["forward"].keys() <= {"empty", "output_padding"}


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name.rpartition(".")[2])
def test_opinfo_errors_are_the_same(info):
    for sample in info.error_inputs("cpu") if info.error_inputs_func else ():
        s = sample.sample_input
        with pytest.raises(sample.error_type), im2col.torch.enabled():
            info(s.input, *s.args, **s.kwargs)


FUNCTIONS = {
    (1, False): torch.conv1d,
    (2, False): torch.conv2d,
    (3, False): torch.conv3d,
    (1, True): torch.conv_transpose1d,
    (2, True): torch.conv_transpose2d,
    (3, True): torch.conv_transpose3d,
}
FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


def random_layer(draw):
    axes, transposed = draw.choice([1, 2, 2, 2, 3]), draw.random() < 0.3
    groups = draw.choice([1, 1, 1, 2, 4])
    c, k = groups * draw.randint(1, 5), groups * draw.randint(1, 5)
    per_axis = lambda values: [draw.choice(values) for _ in range(axes)]
    sizes = [draw.randint(4, 40 if axes == 1 else 11) for _ in range(axes)]
    kernel = [1] * axes if draw.random() < 0.3 else per_axis([1, 2, 3, 3, 4, 5])
    options = dict(
        stride=per_axis([1, 1, 2, 3]), padding=per_axis([0, 1, 2]), dilation=per_axis([1, 1, 2]), groups=groups
    )
    if transposed:
        most = [max(pair) for pair in zip(options["stride"], options["dilation"])]
        options["output_padding"] = [draw.randrange(m) for m in most]
    dtype = draw.choice([torch.float32, torch.float32, torch.float64])
    x = torch.randn(draw.choice([1, 2, 3, 17]), c, *sizes, dtype=dtype)
    w = torch.randn(*((c, k // groups) if transposed else (k, c // groups)), *kernel, dtype=dtype)
    b = torch.randn(k, dtype=dtype) if draw.random() < 0.5 else None
    if axes in FORMATS and draw.random() < 0.4:
        x = x.contiguous(memory_format=FORMATS[axes])
    if axes in FORMATS and draw.random() < 0.4:
        w = w.contiguous(memory_format=FORMATS[axes])
    if draw.random() < 0.1:
        x = torch.cat([x, x], 1)[:, ::2]
    return FUNCTIONS[axes, transposed], x, w, b, options


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("threads", [1, 2])
def test_random_layers(seed, threads):
    """Values, and the strides that compiled models count on."""
    torch.set_num_threads(threads)
    draw = random.Random(seed)
    tried = 0
    for _ in range(60):
        function, x, w, b, options = random_layer(draw)
        tensors = [t.requires_grad_() for t in (x, w, b) if t is not None]
        run = lambda: function(x, w, b, **options)
        try:
            torchs = outcome(run, tensors)
        except RuntimeError:
            with pytest.raises(RuntimeError), im2col.torch.enabled():
                run()
            continue
        with im2col.torch.enabled():
            ours = outcome(run, tensors)
        for a, b_ in zip(ours, torchs, strict=True):
            assert_near(a, b_)
            assert same_strides(a, b_), (x.shape, x.stride(), w.shape, w.stride(), options, a.stride(), b_.stride())
        tried += 1
    assert tried > 20


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_gradients_of_gradients(axes, transposed, on):
    x = torch.randn(2, 4, *[4] * axes, dtype=torch.double, requires_grad=True)
    w = torch.randn(4, 2, *[3] * axes, dtype=torch.double, requires_grad=True)
    b = torch.randn(4, dtype=torch.double, requires_grad=True)
    function = lambda x, w, b: FUNCTIONS[axes, transposed](x, w, b, stride=2, padding=1, groups=2)
    assert torch.autograd.gradcheck(function, (x, w, b))
    assert torch.autograd.gradgradcheck(function, (x, w, b))
    assert on()["forward"] > 0 and on()["backward"] > 0 and not any(on()["fallback"].values())


def test_only_what_is_asked_for(on):
    x, w, dy = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3), torch.randn(2, 4, 6, 6)
    options = ([4], [1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    every = torch.ops.aten.convolution_backward(dy, x, w, *options, [True] * 3)
    for index in range(3):
        mask = [i == index for i in range(3)]
        got = torch.ops.aten.convolution_backward(dy, x, w, *options, mask)
        assert [g is not None for g in got] == mask
        assert torch.equal(got[index], every[index])


def test_expanded_gradient(on):
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    w = torch.randn(4, 3, 3, 3, requires_grad=True)
    torch.conv2d(x, w).sum().backward()
    assert_near(w.grad[0], w.grad[1])
    assert on()["backward"] == 1


@pytest.mark.parametrize("transposed", [False, True])
def test_batch_of_none(transposed, on):
    x = torch.randn(0, 4, 8, 8, requires_grad=True)
    w = torch.randn(4, 4, 3, 3, requires_grad=True)
    b = torch.randn(4, requires_grad=True)
    y = FUNCTIONS[2, transposed](x, w, b)
    assert y.shape == ((0, 4, 10, 10) if transposed else (0, 4, 6, 6))
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not w.grad.any() and not b.grad.any()
    assert on()["forward"] == 1 and not any(on()["fallback"].values())


def test_unbatched_and_same(on):
    x, w = torch.randn(3, 8, 8), torch.randn(4, 3, 4, 4)
    assert torch.conv2d(x, w, padding="same").shape == (4, 8, 8)
    assert on()["forward"] == 1


def test_deterministic_algorithms(on):
    """im2col's results are always the same bits, so the flag forbids nothing."""
    x = torch.randn(4, 16, 14, 14, requires_grad=True)
    w = torch.randn(32, 16, 3, 3, requires_grad=True)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (torch.autograd.grad(torch.conv2d(x, w).square().sum(), (x, w)) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    assert on()["backward"] == 2


@pytest.mark.parametrize("transposed", [False, True])
def test_weights_of_any_strides(transposed, on):
    """Weights and inputs that are views: expanded, transposed, every other element."""
    function = FUNCTIONS[2, transposed]
    x = torch.randn(2, 4, 9, 18)[..., ::2]
    weights = [
        torch.randn(4, 4, 3, 3).transpose(0, 1),
        torch.randn(4, 4, 3, 3).transpose(2, 3),
        torch.randn(1, 4, 3, 3).expand(4, 4, 3, 3),
        torch.randn(8, 4, 3, 3)[::2],
    ]
    for w in weights:
        x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
        ours = outcome(lambda: function(x, w), (x, w))
        copies = [t.detach().clone(memory_format=torch.contiguous_format).requires_grad_() for t in (x, w)]
        for a, b in zip(ours, outcome(lambda: function(*copies), copies), strict=True):
            assert_near(a, b)
    assert on()["forward"] == 8 and not any(on()["fallback"].values())
