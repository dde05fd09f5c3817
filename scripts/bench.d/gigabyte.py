"""`scripts/bench gigabyte`: 1 GB up and 1 GB down through each proxy: how fast, and what it takes of CPU and memory.

One client and an upstream that copy nothing themselves (sendfile from the page cache, received bytes dropped in the kernel), so that the proxy
is what is busy. nginx and HAProxy pass the body of a request on while it arrives, as the sidecar does. scripts/big-bodies sends 1 GB to a real
PocketBase and compares every byte.
"""

import argparse
import os
import socket
import struct
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from statistics import median

import bodies
import proxy
import rig
from turns import Cost, order, spread, where


@dataclass
class Run:
    """One transfer through one proxy."""

    speed: float  # MB a second
    cpu: float  # seconds of the proxy's processes
    before: int  # resident bytes
    highest: int  # resident bytes, the most that was seen during the transfer
    others: float  # percentage of the machine that other programs used


def main(arguments):
    options = parse(arguments)
    rig.need("nginx", "haproxy")
    binary = rig.sidecar_binary()
    with rig.Rig() as bench:
        path = bench.dir / "big.bin"
        with path.open("wb") as file:
            file.truncate(options.megabytes * rig.MB)
        port = rig.free_port()
        upstream = bench.start("bodies", [sys.executable, "-B", proxy.HERE / "bodies.py", port, path], port)
        targets = proxy.start_proxies(bench, binary, upstream.port)
        with path.open("rb") as file:
            for what in WAYS.values():
                what(targets["direct"].port, file.fileno())  # reads the file into the page cache
            runs = rotate(targets, file.fileno(), options, bench)
    print(f"{options.megabytes:,} MB each way over one connection, {options.rotations} rotations; "
          f"{where(binary, [run.others for turns in runs.values() for run in turns])}.\n")
    print(rig.table(HEAD, rows(runs)))


def parse(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench gigabyte", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rotations", type=int, default=5, help="transfers each way for each proxy (default 5)")
    parser.add_argument("--megabytes", type=int, default=1000, metavar="N", help="size of the body (default 1000)")
    parser.add_argument("--quick", action="store_true", help="one rotation of 50 MB: does everything work? Its figures mean nothing")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rotations, options.megabytes = 1, 50
    return options


def rotate(targets, file, options, bench):
    """{(way, proxy): [Run, one for each rotation]}."""
    runs = defaultdict(list)
    for turn in range(options.rotations):
        for way in WAYS:
            for name in order(targets, turn):
                runs[way, name].append(measure(targets[name], WAYS[way], file, options, bench))
    return runs


def measure(target, transfer, file, options, bench):
    before = target.memory()[0]
    with rig.Sampler(lambda: target.memory()[0], 0.02) as sampler, Cost(target, bench) as cost:
        start = time.monotonic()
        transfer(target.port, file)
        seconds = time.monotonic() - start
    return Run(options.megabytes / seconds, cost.cpu, before, max(sampler.seen, default=before), cost.others)


def upload(port, file):
    size = os.fstat(file).st_size
    with connect(port) as client:
        client.sendall(f"POST /upload HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n".encode())
        bodies.pour(client, file, size)
        expect(client, b"204")


def download(port, file):
    with connect(port) as client:
        client.sendall(f"GET /big.bin HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        fields, rest = expect(client, b"200")
        size = bodies.length(fields)
        if size != os.fstat(file).st_size:
            raise SystemExit(f"port {port} announced {size} bytes")
        bodies.drop(client, size, rest)


WAYS = {"upload": upload, "download": download}


def connect(port):
    client = socket.create_connection(("127.0.0.1", port))
    for limit in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # the kernel's: with one of Python's a socket does not block, as sendfile must
        client.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", 60, 0))
    return client


def expect(client, status):
    """The head's fields of an answer with this status, and what came after them."""
    answer = bodies.head(client)
    if answer is None or answer[0].split()[1] != status:
        raise SystemExit(f"expected {status.decode()}, got {answer and answer[0]}")
    return answer[1:]


HEAD = ["way", "proxy", "MB/s", "CPU s", "CPU × nginx", "CPU × HAProxy", "MB/s × nginx", "MB/s × HAProxy", "RSS MB before", "highest seen"]


def rows(runs):
    for way in WAYS:
        for name in proxy.PROXIES:
            mine = runs[way, name]
            costs = ["-"] * 7
            if name != "direct":
                costs = [spread([run.cpu for run in mine]),
                         *(ratio(mine, runs[way, peer], figure) for figure in ("cpu", "speed") for peer in ("nginx", "haproxy")),
                         f"{median(run.before for run in mine) / rig.MB:.1f}", f"{max(run.highest for run in mine) / rig.MB:.1f}"]
            yield [way, name, spread([run.speed for run in mine]), *costs]


def ratio(mine, theirs, figure):
    """A figure against another proxy's in the same rotation."""
    return spread([getattr(a, figure) / max(getattr(b, figure), 0.01) for a, b in zip(mine, theirs)])
