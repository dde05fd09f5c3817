"""`scripts/bench startup`: how long after its exec each proxy passes on its first answer, and how large the sidecar's binary is.

From just before the new process is forked until the first 200 has come back from an upstream that already runs. A client tries to connect
every quarter of a millisecond. Binaries and libraries are in the page cache.
"""

import argparse
import os
import socket
import subprocess
import time

import proxy
import rig
from turns import order, show, spread, versions

REQUEST = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
PAUSE = 0.00025
PATIENCE = 10


def main(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench startup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rotations", type=int, default=20, help="starts of each proxy (default 20)")
    parser.add_argument("--quick", action="store_true", help="two starts of each: does everything work? Its figures mean nothing")
    options = parser.parse_args(arguments)
    rig.need("nginx", "haproxy")
    binary = rig.sidecar_binary()
    with rig.Rig() as bench:
        upstream = proxy.start_haproxy(bench, "small-answers").port
        commands = {
            "generatio": lambda port: rig.serve(binary, port, upstream),
            "nginx": lambda port: ["nginx", "-p", bench.dir, "-c", proxy.config(bench, "nginx.conf", port, {"upstream": upstream})],
            "haproxy": lambda port: ["haproxy", "-db", "-f", proxy.config(bench, "haproxy.cfg", port, {"upstream": upstream})],
        }
        times = {name: [] for name in commands}
        for turn in range(2 if options.quick else options.rotations):
            for name in order(commands, turn):
                times[name].append(start(bench, name, commands[name]))
    print(f"{len(times['generatio'])} starts each; {versions(binary)}; {os.cpu_count()} CPUs, kernel {os.uname().release}, {time.strftime('%Y-%m-%d')}.\n")
    print(rig.table(["proxy", "first answer after ms"], [[name, spread(taken)] for name, taken in times.items()]))
    print(f"\nThe sidecar's binary has {show(os.path.getsize(binary) / rig.MB)} MB.")


def start(bench, name, command):
    """Milliseconds until the first answer."""
    port = rig.free_port()
    argv = [str(word) for word in command(port)]
    with (bench.dir / f"{name}-{port}.log").open("wb") as log:
        began = time.perf_counter()
        popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=bench.dir, start_new_session=True)
    process = rig.Process(name, popen, port, log)
    bench.started.append(process)
    while not answered(port):
        if not process.alive() or time.perf_counter() > began + PATIENCE:
            raise SystemExit(f"{name} did not start:\n{(bench.dir / f'{name}-{port}.log').read_text(errors='replace')[-2000:]}")
        time.sleep(PAUSE)
    taken = (time.perf_counter() - began) * 1e3
    bench.stop(process)
    return taken


def answered(port):
    """Whether somebody listens and passes on an answer, for which it may take its time."""
    with socket.socket() as client:
        client.settimeout(PATIENCE)
        # From 127.0.0.1 it might be given the very port that it calls, and be connected with itself.
        client.bind(("127.0.0.2", 0))
        try:
            client.connect(("127.0.0.1", port))
            client.sendall(REQUEST)
            return client.recv(65536).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False
