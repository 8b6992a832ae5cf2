"""Runs a command and writes what it cost: python -S -E launch.py FILE COMMAND [ARGUMENT...]

A process of its own, and a small one: Linux counts what the parent held at the fork as the
child's largest memory, so that a big parent would hide what the command needs.
"""

import json
import os
import subprocess
import sys
import time


def main(file: str, *command: str) -> int:
    began = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    cost = {
        "wall": time.perf_counter() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss * 1024,
    }
    with open(file, "w") as out:
        json.dump(cost, out)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
