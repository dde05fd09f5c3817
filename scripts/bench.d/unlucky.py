"""`scripts/bench unlucky`: what it costs when the few busy connections share one worker because idle ones were counted.

The sidecar gives each new connection to the worker that holds the fewest, however busy those are. Here some clients ask once and then stay
silent, and a few others ask without pause. Unlucky: the silent ones are left on all workers but the first, so that every busy one is given to
the first. Even: the same clients, spread. nginx and HAProxy get the same clients in the same order and place them by rules of their own. How
busy the busiest thread was shows where they were. wrk and the upstream share the cores with the proxy, so the core that the case leaves idle
is of use to them.
"""

import argparse
import os
import socket
import time
from collections import defaultdict
from dataclasses import dataclass
from statistics import median

import proxy
import rig
from turns import Cost, order, spread, where

PATH, LENGTH = proxy.SIZES["50B"]
WORKERS = len(os.sched_getaffinity(0))
PLACEMENTS = ("even", "unlucky")
SPARE = 2  # silent connections on each other worker beyond the busy ones, which the rule must not fill up


@dataclass
class Run:
    """One proxy under the load of the busy clients for some seconds."""

    rate: float  # requests a second
    p50: float  # microseconds
    p99: float
    cpu: float  # microseconds of the proxy's processes per request
    busiest: float  # percentage of the proxy's CPU that its busiest thread spent
    errors: int
    others: float  # percentage of the machine that other programs used


def main(arguments):
    options = parse(arguments)
    if WORKERS < 2:
        raise SystemExit("with one core there is one worker, and nobody can be unlucky")
    rig.need("nginx", "haproxy", "wrk")
    binary = rig.sidecar_binary()
    with rig.Rig() as bench:
        targets = proxy.start_proxies(bench, binary, proxy.start_haproxy(bench, "small-answers").port)
        del targets["direct"]
        runs = rotate(targets, options, bench)
    print(f"{options.busy} busy connections in a closed loop, {silent(options.busy)} silent ones, {WORKERS} workers; "
          f"{options.rotations} rotations of {options.seconds:g} s each; {where(binary, [run.others for turns in runs.values() for run in turns])}.\n")
    print(rig.table(HEAD, rows(runs, targets)))


def parse(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench unlucky", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rotations", type=int, default=7, help="turns of each proxy in each placement (default 7)")
    parser.add_argument("--seconds", type=float, default=4, help="length of one turn (default 4)")
    parser.add_argument("--busy", type=int, default=4, metavar="N", help="busy connections, an even number: wrk has two threads (default 4)")
    parser.add_argument("--quick", action="store_true", help="one rotation of one second: does everything work? Its figures mean nothing")
    options = parser.parse_args(arguments)
    if options.busy < 2 or options.busy % 2:
        parser.error("--busy takes an even number of connections")
    if options.quick:
        options.rotations, options.seconds = 1, 1
    return options


def silent(busy):
    """How many clients are silent: as many for each worker but one, and a number that can also be spread evenly."""
    each = busy + SPARE
    return (each + -each % WORKERS) * (WORKERS - 1)


def rotate(targets, options, bench):
    """{(proxy, placement): [Run, one for each rotation]}."""
    runs = defaultdict(list)
    for turn in range(options.rotations):
        for name in order(targets, turn):
            for placement in order(PLACEMENTS, turn):
                runs[name, placement].append(measure(targets[name], placement, options, bench))
    return runs


def measure(target, placement, options, bench):
    proxy.check(target.port, PATH, LENGTH)
    wait_until_alone(target)
    clients = place(target.port, placement, silent(options.busy))
    try:
        time.sleep(0.2)  # what was closed must have been noticed
        before = target.thread_seconds()
        with Cost(target, bench) as cost:
            requests, _, errors, p50, p99, duration = proxy.load(target.port, PATH, options.seconds, options.busy)
        spent = [seconds - before.get(thread, 0) for thread, seconds in target.thread_seconds().items()]
    finally:
        for client in clients:
            client.close()
    return Run(requests / duration * 1e6, p50, p99, cost.cpu / requests * 1e6, max(spent) / max(sum(spent), 0.01) * 100, errors, cost.others)


def wait_until_alone(target):
    """Until the proxy has closed what earlier clients left: their connections would be counted."""
    deadline = time.monotonic() + 10
    while held(target.port):
        if time.monotonic() > deadline:
            raise SystemExit(f"{target.name} does not close its clients' connections")
        time.sleep(0.05)


def held(port):
    """Connections to the port that are not closed on the listening side."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in list(table)[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] in ("01", "08") for row in rows)  # established, or waiting to be closed


def place(port, placement, count):
    """The silent clients' connections. Opened one after another they take the workers in turn."""
    if placement == "even":
        return [visit(port) for _ in range(count)]
    clients = [visit(port) for _ in range(count // (WORKERS - 1) * WORKERS)]
    for client in clients[::WORKERS]:
        client.close()
    return [client for number, client in enumerate(clients) if number % WORKERS]


def visit(port):
    """A connection on which one request was answered."""
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    answer = b""
    while len(answer.partition(b"\r\n\r\n")[2]) < LENGTH:
        got = client.recv(65536)
        if not got:
            raise SystemExit(f"port {port} closed a connection instead of answering")
        answer += got
    return client


HEAD = ["proxy", "placement", "requests/s", "p50 µs", "p99 µs", "CPU µs/request", "busiest thread %", "requests/s × even", "p99 × even", "errors"]


def rows(runs, targets):
    for name in targets:
        for placement in PLACEMENTS:
            mine, even = runs[name, placement], runs[name, "even"]
            yield [name, placement, *(spread([getattr(run, figure) for run in mine]) for figure in ("rate", "p50", "p99", "cpu")),
                   f"{median(run.busiest for run in mine):.0f}", spread([a.rate / b.rate for a, b in zip(mine, even)]),
                   spread([a.p99 / b.p99 for a, b in zip(mine, even)]), sum(run.errors for run in mine)]
