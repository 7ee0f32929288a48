#!/usr/bin/env python3
"""Draws layers that nobody has chosen, for compare.py --file: what the library does with shapes that it wasn't tuned to.

    python3 benches/peers/draw.py [--seed 101] [--count 100] > benches/random.csv

Sorts: dense (three in ten), grouped, depthwise, one axis, three axes, few channels on one side, first layers, 1x1 (one in ten each). What
has less than 1.5 or more than 400 MFLOP, or a tensor of more than 30 million elements, is drawn again, whatever its sort.
"""
import argparse
import math
import random

SORTS = "dense dense dense grouped depthwise audio video few stem pointwise".split()
CHANNELS = [8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128, 160, 192, 256, 320, 384, 512]
HEIGHTS = [4, 7, 8, 10, 13, 14, 16, 19, 20, 24, 26, 28, 32, 40, 48, 52, 56, 64, 80, 96, 112, 128, 160, 224]


def draw(rng):
    """(sort, batch, groups, channels in, channels out, image, kernel, stride, dilation, padding) of one layer."""
    pick = rng.choice
    sort = pick(SORTS)
    axes = {"audio": 1, "video": 3}.get(sort, 2)
    batch, groups = pick([1, 1, 1, 2, 4, 8, 16]), 1
    inputs, outputs = pick(CHANNELS), pick(CHANNELS)
    kernel = [pick([1, 2, 3, 3, 3, 5, 7])] * axes
    stride, dilation = [pick([1, 1, 1, 2])] * axes, [pick([1, 1, 1, 1, 2, 4])] * axes
    height = pick(HEIGHTS)
    image = [height, pick([height, height, height, max(4, height * 3 // 4)])]
    if sort == "pointwise":
        kernel = [1, 1]
        inputs, outputs = pick(CHANNELS + [1024, 2048]), pick(CHANNELS + [1024, 2048])
    elif sort == "audio":
        kernel, image = [pick([1, 3, 5, 9, 15, 31])], [pick([100, 500, 1000, 4000, 16000, 44100])]
    elif sort == "video":
        kernel = [pick([1, 3, 3])] + [pick([1, 3, 3])] * 2
        image = [pick([4, 8, 16])] + [pick([7, 14, 28, 56])] * 2
    elif sort == "depthwise":
        groups, outputs, kernel = inputs, inputs * pick([1, 1, 1, 2]), [pick([3, 3, 5, 7])] * 2
    elif sort == "grouped":
        each, groups = pick([2, 4, 8, 16, 24, 32]), pick([2, 4, 8, 16, 32])
        inputs, outputs = each * groups, pick([each, each, 2 * each]) * groups
    elif sort == "few":
        inputs, outputs = pick([(inputs, rng.randint(1, 12)), (rng.randint(1, 12), outputs)])
    elif sort == "stem":
        inputs, outputs = pick([1, 2, 3, 3, 4]), pick([16, 24, 32, 48, 64, 96])
        kernel, stride = [pick([3, 4, 5, 7, 11])] * 2, [pick([1, 2, 4])] * 2
    same = pick([0, 1, 1, 1])
    padding = [(taps - 1) * step // 2 * same for taps, step in zip(kernel, dilation)]
    return sort, batch, groups, inputs, outputs, image, kernel, stride, dilation, padding


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    sizes = lambda values: "x".join(map(str, values))
    print("set,name,mb,g,ic,oc,in,k,s,d,pl,pr,out")
    count = 0
    while count < options.count:
        sort, batch, groups, inputs, outputs, image, kernel, stride, dilation, padding = draw(rng)
        walks = zip(image, kernel, stride, dilation, padding)
        out = [(i + 2 * p - d * (k - 1) - 1) // s + 1 for i, k, s, d, p in walks]
        if min(out) < 1:
            continue
        flop = 2 * batch * outputs * inputs // groups * math.prod(kernel) * math.prod(out)
        elements = batch * max(inputs * math.prod(image), outputs * math.prod(out))
        if not 1.5e6 < flop < 4e8 or elements > 3e7:
            continue
        count += 1
        fields = [sort, f"{sort}_{count}", batch, groups, inputs, outputs, sizes(image), sizes(kernel), sizes(stride)]
        fields += [sizes(dilation), sizes(padding), sizes(padding), sizes(out)]
        print(*fields, sep=",")


if __name__ == "__main__":
    main()
