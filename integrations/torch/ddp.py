#!/usr/bin/env python3
"""Data-parallel training on one machine: how much faster two processes of one thread are than one.

usage: ddp.py [--model resnet18] [--rounds 5] [--batch 4] [--repeats 3]

Each process trains with `--batch` images a step under DistributedDataParallel over gloo, PyTorch's convolutions and
im2col's in turns; one process and two are tried in turns, too. Prints the images a second of one and of two processes,
from the medians of all steps, and how much faster two are.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from bench import MODELS, seconds

import im2col.torch


def worker(rank: int, world: int, place: str, arguments: argparse.Namespace, found: Any) -> None:
    dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=world)
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    make, size = MODELS[arguments.model]
    model = torch.nn.parallel.DistributedDataParallel(make().train())
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    x, y = torch.randn(arguments.batch, *size[1:]), torch.randint(0, 10, (arguments.batch,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    times: tuple[list[float], list[float]] = ([], [])
    for index in range(arguments.rounds + 1):
        for ours in (False, True):
            (im2col.torch.enable if ours else im2col.torch.disable)()
            dist.barrier()
            taken = seconds(step)
            if index:
                times[ours].append(taken)
    if rank == 0:
        found[world] = [a + b for a, b in zip(found[world], times)]
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18", choices=list(MODELS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, mp.Manager() as manager:
        found = manager.dict({1: [[], []], 2: [[], []]})
        for world in (1, 2) * arguments.repeats:
            rendezvous = tempfile.mktemp(dir=place)
            mp.spawn(worker, (world, rendezvous, arguments, found), nprocs=world)
        for index, name in enumerate(("PyTorch", "im2col")):
            one, two = (world * arguments.batch / statistics.median(found[world][index]) for world in (1, 2))
            print(f"{arguments.model}, {name}: one process {one:.2f} images/s, two {two:.2f}: x{two / one:.2f}")


if __name__ == "__main__":
    main()
