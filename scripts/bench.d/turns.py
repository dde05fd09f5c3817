"""What comparing benchmarks share: whose turn it is, what a turn cost, and how and where it was measured."""

import os
import re
import subprocess
import time
from statistics import median

import rig


class Cost:
    """What a `with` block cost: `cpu` seconds of the proxy, and `others`, the percentage of the machine that programs outside this
    benchmark used meanwhile."""

    def __init__(self, target, bench):
        self.target, self.bench = target, bench

    def __enter__(self):
        self.start, self.before = time.monotonic(), self.now()
        return self

    def __exit__(self, *_):
        self.cpu, ours, busy = (after - before for after, before in zip(self.now(), self.before))
        self.others = max(0, busy - ours) / (time.monotonic() - self.start) / os.cpu_count() * 100

    def now(self):
        return self.target.cpu_seconds(), self.bench.cpu_seconds(), rig.busy_seconds()


def order(names, turn):
    """The names, each turn beginning with another one."""
    names = list(names)
    return names[turn % len(names):] + names[:turn % len(names)]


def show(value):
    """A figure with as many digits as mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values):
    """The median, and the lowest and highest."""
    return f"{show(median(values))} ({show(min(values))}{' to ' if min(values) < 0 else '-'}{show(max(values))})"


def where(binary, others, pocketbase=False):
    """Versions, machine and date, and what other programs used of the machine: a percentage for each turn."""
    return (f"{versions(binary, pocketbase)}; {os.cpu_count()} CPUs, kernel {os.uname().release}, {time.strftime('%Y-%m-%d')}; "
            f"other programs used {spread(others)} % of the machine")


def versions(binary, pocketbase=False):
    def version(name, *argv):
        out = subprocess.run(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
        return f"{name} {re.search(r'[0-9]+[.][0-9][^ ,]*', out)[0].strip()}"
    known = [version("generatio", binary, "--version"), version("nginx", "nginx", "-v"), version("HAProxy", "haproxy", "-v")]
    if pocketbase:
        known.append(version("PocketBase", rig.pocketbase_binary(), "--version"))
    return ", ".join(known)
