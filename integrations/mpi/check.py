#!/usr/bin/env python3
"""Two processes give the losses of one with twice the batch. usage: python3 check.py BINARY"""
import re
import subprocess
import sys


def losses(command):
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print("$", " ".join(command), printed, sep="\n", end="")
    return [float(loss) for loss in re.findall(r"mean loss ([0-9.]+)", printed)]


# Debian's OpenMPI wants to be told that root may start it, and that two processes may share a core.
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2"]
binary = sys.argv[1]
two, one = losses([*MPIRUN, binary, "16"]), losses([binary, "32"])
assert len(one) == 3 and one[-1] < 0.7 * one[0], f"nothing is learnt: {one}"
apart = max(abs(a - b) / b for a, b in zip(two, one, strict=True))
print(f"largest relative difference of the losses: {apart:.1e}")
# Sums in another order differ by some 1e-6, which every step carries on to the next.
assert apart < 1e-3, (two, one)
