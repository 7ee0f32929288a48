"""What PyTorch does around convolutions goes on as before: compile, export, vmap, autocast, threads, fork, DDP."""

import copy
import gc
import os
import resource
import subprocess
import sys
import textwrap
import threading

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from conftest import assert_near

import im2col.torch


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.b = nn.BatchNorm2d(16)
        self.c = nn.Conv2d(16, 32, 3, 2, 1, groups=2)
        self.d = nn.ConvTranspose2d(32, 8, 2, 2)
        self.e = nn.Linear(8, 10)

    def forward(self, x):
        x = torch.relu(self.c(torch.relu(self.b(self.a(x)))))
        return self.e(self.d(x).mean((2, 3)))


CONVOLUTIONS = 3


def gradients(model, x, run=None):
    """Of a model's parameters; `run` is what computes it, compiled for example."""
    model.zero_grad()
    F.cross_entropy((model if run is None else run)(x), torch.arange(x.shape[0]) % 10).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def test_compiled_training_and_inference():
    model, x = Net(), torch.randn(4, 3, 16, 16)
    expected = gradients(model, x)
    with im2col.torch.enabled():
        im2col.torch.reset_stats()
        found = gradients(model, x, torch.compile(model, fullgraph=True))
        stats = im2col.torch.stats()
        assert (stats["forward"], stats["backward"]) == (CONVOLUTIONS, CONVOLUTIONS)
        assert not any(stats["fallback"].values())
        for name, gradient in expected.items():
            assert_near(found[name], gradient, 1e-3)
        model.eval()
        im2col.torch.reset_stats()
        with torch.no_grad():
            y = torch.compile(model, fullgraph=True)(x)
            assert im2col.torch.stats()["forward"] == CONVOLUTIONS
    with torch.no_grad():
        assert_near(y, model(x))


def test_exported(on):
    model, x = Net().eval(), torch.randn(2, 3, 16, 16)
    exported = torch.export.export(model, (x,)).module()
    before = on()["forward"]
    y = exported(x)
    assert on()["forward"] - before == CONVOLUTIONS
    im2col.torch.disable()
    assert_near(y, model(x))


def test_vmap_of_grad():
    model, x = Net().eval(), torch.randn(4, 3, 8, 8)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(parameters, x):
        return torch.func.functional_call(model, (parameters, buffers), (x[None],)).square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), (None, 0))
    expected = per_sample(parameters, x)
    with im2col.torch.enabled():
        im2col.torch.reset_stats()
        found = per_sample(parameters, x)
        assert im2col.torch.stats()["backward"] > 0
    for name, gradient in expected.items():
        assert_near(found[name], gradient)


def test_autocast_is_torchs(on):
    model, x = Net(), torch.randn(2, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        model(x).sum().backward()
    stats = on()
    assert stats["forward"] == stats["backward"] == 0
    assert stats["fallback"]["forward"] == {"dtype": CONVOLUTIONS}
    assert stats["fallback"]["backward"] == {"dtype": CONVOLUTIONS}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64])
def test_other_types_are_torchs(dtype):
    x = torch.randn(2, 3, 8, 8, dtype=dtype, requires_grad=True)
    w = torch.randn(4, 3, 3, 3, dtype=dtype, requires_grad=True)
    run = lambda: torch.autograd.grad(
        torch.view_as_real(torch.conv2d(x, w)).sum() if dtype.is_complex else torch.conv2d(x, w).sum(), (x, w)
    )
    expected = run()
    with im2col.torch.enabled():
        found = run()
    for a, b in zip(found, expected):
        assert float((a - b).abs().max()) <= 1e-3 * float(b.abs().max())


def test_subclasses_and_inference_mode(on):
    class Tagged(torch.Tensor):
        pass

    x, w = torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3)
    assert isinstance(torch.conv2d(x.as_subclass(Tagged), w), Tagged)
    with torch.inference_mode():
        y = torch.conv2d(x, w)
        assert y.is_inference()
    assert on()["forward"] == 2


def test_errors_are_exceptions_with_shapes(on):
    with pytest.raises(RuntimeError, match=r"4, 3, 3, 3.*1, 5, 8, 8"):
        torch.conv2d(torch.randn(1, 5, 8, 8), torch.randn(4, 3, 3, 3))
    with pytest.raises(RuntimeError):
        torch.conv2d(torch.randn(1, 3, 2, 2), torch.randn(4, 3, 3, 3))
    with pytest.raises(RuntimeError):
        torch.conv2d(torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3), torch.randn(5))
    with pytest.raises(RuntimeError):
        torch.ops.aten.convolution_backward(
            torch.randn(1, 4, 5, 5),
            torch.randn(1, 3, 8, 8),
            torch.randn(4, 3, 3, 3),
            None,
            [1, 1],
            [0, 0],
            [1, 1],
            False,
            [0, 0],
            1,
            [True, True, False],
        )
    assert torch.conv2d(torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3)).shape == (1, 4, 6, 6)


def test_switching():
    x, w = torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3)
    count = lambda: im2col.torch.stats()["forward"]
    assert not im2col.torch.is_enabled()
    torch.conv2d(x, w)
    assert count() == 0
    with im2col.torch.enabled():
        im2col.torch.enable()
        torch.conv2d(x, w)
        with im2col.torch.enabled("tile"):
            torch.conv2d(x, w)
        torch.conv2d(x, w)
    im2col.torch.disable()
    torch.conv2d(x, w)
    assert count() == 3
    with pytest.raises(ValueError, match="tile2"):
        im2col.torch.enable("exact")


def test_accuracy_of_tiles():
    x, w = torch.randn(2, 32, 28, 28), torch.randn(32, 32, 3, 3)
    exact = torch.conv2d(x.double(), w.double(), padding=1)
    errors = {}
    for accuracy in ("element", "tile2", "tile"):
        with im2col.torch.enabled(accuracy):
            errors[accuracy] = float((torch.conv2d(x, w, padding=1) - exact).abs().max())
    assert errors["element"] < 1e-4 and errors["tile2"] < 4e-4 and errors["tile"] < 2e-3


def test_explain():
    words = im2col.torch.explain(Net(), (1, 3, 16, 16))
    assert words.count("input [") == CONVOLUTIONS and "backward_weight" in words


def test_flat_memory(on):
    """100 000 calls: what a call leaves behind would show."""
    x, w = torch.randn(1, 2, 4, 4), torch.randn(2, 2, 3, 3, requires_grad=True)
    b = torch.randn(2, requires_grad=True)

    def calls(count):
        for _ in range(count):
            torch.conv2d(x, w, b)
        for _ in range(count // 10):
            torch.autograd.grad(torch.conv2d(x, w, b).sum(), (w, b))
        for _ in range(count // 10):
            torch.conv2d(x.bfloat16(), w.bfloat16())
        for _ in range(count // 100):
            with pytest.raises(RuntimeError):
                torch.conv2d(x[:, :1], w)

    calls(5_000)
    gc.collect()
    before = resident()
    calls(100_000)
    gc.collect()
    assert resident() - before < 4 << 20


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_plans_are_bounded(on):
    w = torch.randn(1, 1, 1)
    for length in range(1, 1200):
        torch.conv1d(torch.zeros(1, 1, length), w)
    assert on()["plans"] == 1024


def test_threads_at_once(on):
    x, w = torch.randn(4, 8, 16, 16), torch.randn(8, 8, 3, 3)
    expected = torch.conv2d(x, w)
    wrong = []

    def work():
        for _ in range(100):
            if not torch.equal(torch.conv2d(x, w), expected):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong and on()["forward"] == 401


def test_same_bits_at_any_number_of_threads(on):
    x = torch.randn(3, 16, 20, 20, requires_grad=True)
    w = torch.randn(24, 16, 3, 3, requires_grad=True)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        y = torch.conv2d(x, w, padding=1)
        results.append([y, *torch.autograd.grad(y.square().sum(), (x, w))])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def run_script(script, *command):
    path = os.path.join(os.path.dirname(__file__), "..")
    command = command or (sys.executable, "-c")
    done = subprocess.run([*command, textwrap.dedent(script)], cwd=path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_fork_after_use():
    """A child of a process that has used the kernels uses them, too: as DataLoader's workers do, on one thread."""
    out = run_script(
        """
        import os, torch, im2col.torch
        im2col.torch.enable()
        x, w = torch.randn(8, 16, 32, 32), torch.randn(16, 16, 3, 3)
        torch.set_num_threads(2)
        expected = torch.conv2d(x, w)
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)
            os._exit(0 if torch.equal(torch.conv2d(x, w), expected) else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    assert out.strip() == "0"


def test_loader_workers():
    out = run_script(
        """
        import torch, im2col.torch

        class Blurred(torch.utils.data.Dataset):
            def __len__(self): return 8
            def __getitem__(self, i): return torch.conv2d(torch.ones(1, 3, 16, 16), torch.ones(3, 1, 3, 3), groups=3)[0]

        im2col.torch.enable()
        Blurred()[0]
        for batch in torch.utils.data.DataLoader(Blurred(), 4, num_workers=2, multiprocessing_context="fork"):
            assert batch.shape == (4, 3, 14, 14) and bool((batch == 9).all())
        print("done")
        """
    )
    assert out.strip() == "done"


def test_two_processes_as_one(tmp_path):
    """DDP over gloo: two processes take the steps of one with twice the batch."""
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, torch, torch.distributed as dist, torch.nn as nn, im2col.torch
            import torch.nn.functional as F
            im2col.torch.enable()
            rank, world, rendezvous = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
            torch.set_num_threads(1)
            torch.manual_seed(0)
            convolutions = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU()]
            model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(8 * 49, 10))
            x, y = torch.randn(5, 8, 3, 16, 16), torch.randint(0, 10, (5, 8))
            if world > 1:
                dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
                model = nn.parallel.DistributedDataParallel(model)
            optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
            for step in range(5):
                part = slice(rank * 8 // world, (rank + 1) * 8 // world)
                loss = F.cross_entropy(model(x[step, part]), y[step, part])
                optimizer.zero_grad(); loss.backward(); optimizer.step()
                mean = loss.detach().clone()
                if world > 1:
                    dist.all_reduce(mean)
                print(float(mean) / world)
            assert im2col.torch.stats()["backward"] == 10
            """
        )
    )

    def losses(world):
        arguments = [str(world), str(tmp_path / f"rendezvous{world}")]
        processes = [
            subprocess.Popen([sys.executable, str(script), str(rank), *arguments], stdout=subprocess.PIPE, text=True)
            for rank in range(world)
        ]
        outputs = [process.communicate(timeout=200)[0] for process in processes]
        assert all(process.returncode == 0 for process in processes)
        return [float(line) for line in outputs[0].split()]

    one, two = losses(1), losses(2)
    assert len(one) == 5 and one == pytest.approx(two, rel=1e-5)


def test_frozen_weights_are_packed_and_never_stale():
    # Another schedule may be chosen for a packed weight, with other rounding errors.
    model = Net().eval()
    x = torch.randn(2, 3, 16, 16)
    with im2col.torch.enabled(), torch.no_grad():
        plain = model(x)
        im2col.torch.freeze(model)
        torch.testing.assert_close(model(x), plain)
        assert im2col.torch.stats()["packed"] == CONVOLUTIONS
        for write in (
            lambda w: w.mul_(1.5),
            lambda w: w[0].zero_(),
            lambda w: w.copy_(torch.randn_like(w)),
            lambda w: w.view(-1)[3:4].add_(1.0),
        ):
            model(x)
            write(model.a.weight)
            torch.testing.assert_close(model(x), copy.deepcopy(model)(x))
        model.load_state_dict(Net().state_dict())
        torch.testing.assert_close(model(x), copy.deepcopy(model)(x))
        im2col.torch.unfreeze(model)
        assert im2col.torch.stats()["frozen"] == 0
        im2col.torch.freeze(model)
        del model, write
        gc.collect()
        assert im2col.torch.stats()["frozen"] == 0


def test_frozen_weights_train_right():
    model, x = Net(), torch.randn(4, 3, 16, 16)
    twin = copy.deepcopy(model)
    im2col.torch.freeze(model)
    with im2col.torch.enabled():
        for network in (model, twin):
            optimizer = torch.optim.SGD(network.parameters(), 0.1)
            for _ in range(3):
                gradients(network, x)
                optimizer.step()
    for a, b in zip(model.parameters(), twin.parameters()):
        torch.testing.assert_close(a, b)
