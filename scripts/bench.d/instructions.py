"""`scripts/bench instructions`: how many instructions one small request costs, outside the kernel, for each proxy.

Counted by valgrind's callgrind, not timed: the same on a busy machine as on a quiet one. What the kernel does is not in it.
"""

import argparse
import os
import re
import subprocess
import sys

import proxy
import rig
from turns import versions

WARM, COUNTED = 2_000, 10_000  # requests: the first pay for start-up, connections and buffers


def main(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench instructions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", metavar="FILE", help="keep the sidecar's profile for callgrind_annotate; needs a binary with symbols")
    parser.add_argument("--at-most", type=int, metavar="N", help="count the sidecar alone, and fail if a request costs more than N instructions")
    options = parser.parse_args(arguments)
    rig.need("haproxy", "valgrind", "h2load", *([] if options.at_most else ["nginx"]))
    binary = rig.sidecar_binary()
    with rig.Rig() as bench:
        upstream = proxy.start_haproxy(bench, "small-answers").port
        if options.at_most:
            sys.exit(hold(bench, commands(bench, binary, upstream)["generatio"], upstream, options))
        costs = {name: cost(bench, name, command, upstream, options) for name, command in commands(bench, binary, upstream).items()}
    rows = [[name, f"{costs[name]:,.0f}", f"{costs[name] / costs['nginx']:.2f}", f"{costs[name] / costs['haproxy']:.2f}"] for name in costs]
    print(f"{versions(binary)}; GET /api/health, 50 bytes.\n")
    print(rig.table(["proxy", "instructions/request", "× nginx", "× HAProxy"], rows))


def hold(bench, command, upstream, options):
    """None if a request costs no more than it may, else what to say."""
    counted = cost(bench, "generatio", command, upstream, options)
    print(f"{counted:,.0f} instructions for a small request; at most {options.at_most:,}")
    return None if counted <= options.at_most else "a small request costs more instructions than it may: see docs/bench.md"


def commands(bench, binary, upstream):
    """What starts each proxy at a port. One process each: callgrind writes a file for every one of them."""

    def nginx(port):
        path = proxy.config(bench, "nginx.conf", port, {"upstream": upstream})
        path.write_text("master_process off;\n" + path.read_text().replace("worker_processes 2;", "worker_processes 1;"))
        return ["nginx", "-p", bench.dir, "-c", path]

    return {
        "generatio": lambda port: rig.serve(binary, port, upstream),
        "nginx": nginx,
        "haproxy": lambda port: ["haproxy", "-db", "-f", proxy.config(bench, "haproxy.cfg", port, {"upstream": upstream})],
    }


def cost(bench, name, command, upstream, options):
    """Instructions per request: the difference of two runs, so that neither start nor stop is in it."""
    few = count(bench, name, command, WARM)
    many = count(bench, name, command, WARM + COUNTED)
    if name == "generatio" and options.profile:
        (bench.dir / f"{name}.{WARM + COUNTED}").replace(options.profile)
    return (many - few) / COUNTED


def count(bench, name, command, requests):
    port, profile = rig.free_port(), bench.dir / f"{name}.{requests}"
    # Two cores everywhere: the sidecar has a thread for each, and connections that share one share its waits.
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
    argv = ["taskset", "--cpu-list", cores, "valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", *command(port)]
    process = bench.start(f"callgrind-{port}", argv, port)
    load = ["h2load", "--h1", "-n", str(requests), "-c", "8", "-t", "1", f"http://127.0.0.1:{port}/api/health"]
    out = subprocess.run(load, check=True, text=True, stdout=subprocess.PIPE, timeout=120).stdout
    if f"{requests} succeeded" not in out:
        sys.exit(f"not every request to {name} was answered:\n{out}")
    process.popen.terminate()
    process.popen.wait(timeout=30)
    return int(re.search(r"^(?:summary|totals): (\d+)", profile.read_text(), re.MULTILINE)[1])
