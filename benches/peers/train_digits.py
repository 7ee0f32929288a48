#!/usr/bin/env python3
"""The network of `cargo run --release -p train_digits` in PyTorch, to compare with.

Same layers, first parameters from the same distribution, same batches of 32, same shifts, same
smoothing of the labels, same learning rate, one thread; other random numbers. Prints for each
seed the test accuracy and the seconds of training and test, as `train_digits -- --seeds 5` does.

    python3 benches/peers/train_digits.py [--seeds 5] [--data examples/data]
"""
import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

EPOCHS, BATCH, RATE, MOMENTUM, SMOOTHING = 20, 32, 0.05, 0.9, 0.1


def idx(path):
    """An IDX file of unsigned bytes."""
    data = path.read_bytes()
    axes = data[3]
    dims = np.frombuffer(data, ">u4", axes, 4).astype(int)
    return torch.from_numpy(np.frombuffer(data, np.uint8, -1, 4 + 4 * axes).copy().reshape(dims))


def split(folder, name):
    """Images [N, 1, H, W], 0 to 1, and their labels."""
    images = idx(folder / f"digits-{name}-images-idx3-ubyte").float().unsqueeze(1) / 255
    return images, idx(folder / f"digits-{name}-labels-idx1-ubyte").long()


def network(size, classes):
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(32 * (size[0] // 2) * (size[1] // 2), classes),
    )


def shifted(images):
    """All images moved by the same -1, 0 or 1 pixels on each axis; zeros come in."""
    y, x = torch.randint(0, 3, (2,)).tolist()
    height, width = images.shape[2:]
    return F.pad(images, (1, 1, 1, 1))[:, :, y:y + height, x:x + width]


def train(model, images, labels):
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM)
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - epoch / EPOCHS)
        for picks in torch.randperm(len(images)).split(BATCH):
            scores = model(shifted(images[picks]))
            loss = F.cross_entropy(scores, labels[picks], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def main():
    here = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=here / "examples" / "data")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    train_images, train_labels = split(args.data, "train")
    test_images, test_labels = split(args.data, "test")
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    results = []
    for seed in range(args.seeds):
        torch.manual_seed(seed)
        model = network(train_images.shape[2:], classes)
        start = time.perf_counter()
        train(model, train_images, train_labels)
        with torch.no_grad():
            right = model(test_images).argmax(1) == test_labels
        results.append((right.float().mean().item(), time.perf_counter() - start))
        print(f"seed {seed}: test accuracy {results[-1][0]:.4f}, {results[-1][1]:.2f} s")
    accuracy, seconds = np.mean(results, axis=0)
    print(f"mean of {args.seeds}: test accuracy {accuracy:.4f}, {seconds:.2f} s")


if __name__ == "__main__":
    main()
