"""`scripts/bench proxy`: what it costs to pass a request on, for the sidecar, nginx and HAProxy in one rotation."""

import argparse
import http.client
import os
import random
import re
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import rig
from turns import Cost, spread, where

HERE = Path(__file__).resolve().parent
CONNECTIONS = 32
SIZES = {  # name -> (path, bytes of the body)
    "50B": ("/api/health", 50),
    "100KB": ("/100kb.bin", 100_000),
    "10MB": ("/10mb.bin", 10_000_000),
}
PROXIES = ["direct", "generatio", "nginx", "haproxy"]


@dataclass
class Run:
    """One proxy under load for some seconds."""

    rate: float  # requests a second
    p50: float  # milliseconds
    p99: float
    cpu: float  # microseconds of the proxy's processes per request
    resident: int  # bytes, at the end
    peak: int  # bytes, during the run
    errors: int
    others: float  # percentage of the machine that programs outside this benchmark used meanwhile


def main(arguments):
    options = parse(arguments)
    rig.need("nginx", "haproxy", "wrk")
    binary = rig.sidecar_binary()
    with rig.Rig() as bench:
        upstreams = start_upstreams(bench, options)
        fronts = {upstream: start_proxies(bench, binary, upstream.port) for upstream in set(upstreams.values())}
        runs, repeated = rotate({size: fronts[upstreams[size]] for size in options.sizes}, options, bench)
    report = "\n".join([
        f"{CONNECTIONS} connections, {options.rotations} rotations of {options.seconds:g} s each, upstream: "
        f"{'PocketBase' if options.pocketbase else 'fixed answers'}; "
        f"{where(binary, [run.others for turns in runs.values() for run in turns], options.pocketbase)}; "
        f"{repeated} rotations were repeated because it was more than {options.noise:g} %.",
        "", rig.table(HEAD, rows(runs, options.sizes))])
    print(report)
    if options.record:
        record(report)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench proxy", description=__doc__)
    parser.add_argument("--rotations", type=int, default=5, help="turns each proxy gets (default 5)")
    parser.add_argument("--seconds", type=float, default=5, help="length of one turn, after a second of warming up (default 5)")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), metavar="SIZE", help=f"of {', '.join(SIZES)} (default all)")
    parser.add_argument("--pocketbase", action="store_true", help="a real PocketBase as the upstream, instead of fixed answers")
    parser.add_argument("--noise", type=float, default=10, metavar="PERCENT",
                        help="repeat a rotation, at most twice, in which other programs used more of the machine than this (default 10)")
    parser.add_argument("--quick", action="store_true", help="one rotation of one second: does everything work? Its figures mean nothing")
    parser.add_argument("--record", action="store_true", help="also replace the table in docs/bench.md")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rotations, options.seconds, options.noise = 1, 1, 100
    return options


def start_upstreams(bench, options):
    """Who answers requests of each size."""
    if options.pocketbase:
        pocketbase = bench.pocketbase()
        write_files(bench.public)
        return dict.fromkeys(options.sizes, pocketbase)
    public = bench.dir / "public"
    public.mkdir()
    write_files(public)
    small = start_haproxy(bench, "small-answers")
    large = start_nginx(bench, "large-answers", public=public)
    return {size: small if size == "50B" else large for size in options.sizes}


def write_files(folder):
    for path, size in SIZES.values():
        if path.endswith(".bin"):
            (folder / path[1:]).write_bytes(os.urandom(size))


def start_proxies(bench, binary, upstream):
    return {
        "direct": rig.Nobody(upstream),
        "generatio": bench.sidecar(binary, upstream, f"generatio-{upstream}"),
        "nginx": start_nginx(bench, "nginx", upstream=upstream),
        "haproxy": start_haproxy(bench, "haproxy", upstream=upstream),
    }


def start_nginx(bench, name, **values):
    port = rig.free_port()
    return bench.start(f"{name}-{port}", ["nginx", "-p", bench.dir, "-c", config(bench, f"{name}.conf", port, values)], port)


def start_haproxy(bench, name, **values):
    port = rig.free_port()
    return bench.start(f"{name}-{port}", ["haproxy", "-db", "-f", config(bench, f"{name}.cfg", port, values)], port)


def config(bench, name, port, values):
    """A copy of a configuration with its @places@ filled in."""
    known = {"dir": bench.dir, "name": f"{name}-{port}", "port": port, "connections": 4096, "descriptors": 8192, "option": "", **values}
    copy = bench.dir / f"{port}-{name}"
    copy.write_text(re.sub("@([a-z]+)@", lambda place: str(known[place[1]]), (HERE / name).read_text()))
    return copy


def rotate(targets, options, bench):
    """{(size, proxy): [Run, one for each rotation]}, and how many rotations were repeated. The smallest bodies come first, so that
    memory is not that of larger ones."""
    runs, repeated = defaultdict(list), 0
    for size in options.sizes:
        for turn in range(options.rotations):
            for attempt in range(3):
                order = list(PROXIES)
                random.Random(f"{turn} {attempt}").shuffle(order)
                measured = {name: measure(targets[size][name], size, options, bench) for name in order}
                if max(run.others for run in measured.values()) <= options.noise:
                    break
            repeated += attempt
            for name, run in measured.items():
                runs[size, name].append(run)
    return runs, repeated


def measure(target, size, options, bench):
    path, length = SIZES[size]
    check(target.port, path, length)
    load(target.port, path, options.seconds / 5)
    target.forget_peak()
    with Cost(target, bench) as cost:
        requests, read, errors, p50, p99, duration = load(target.port, path, options.seconds)
    # Of large answers some are still on their way when time is up: bytes count them fairly.
    served = read / length if length > 10_000 else requests
    return Run(served / duration * 1e6, p50 / 1e3, p99 / 1e3, cost.cpu / served * 1e6, *target.memory(), errors, cost.others)


def check(port, path, length):
    """Refuses to measure anything but the right answer."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request("GET", path)
    answer = client.getresponse()
    if answer.status != 200 or len(answer.read()) != length:
        raise SystemExit(f"GET {path} at port {port} was not {length} bytes with status 200")


def load(port, path, seconds, connections=CONNECTIONS):
    """Requests, bytes, errors, p50, p99 and duration of one wrk run."""
    argv = ["wrk", "-t2", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "--latency", "-s", HERE / "wrk.lua",
            f"http://127.0.0.1:{port}{path}"]
    out = subprocess.run(argv, check=True, text=True, stdout=subprocess.PIPE, timeout=seconds + 30).stdout
    return [int(word) for word in re.search(r"^RESULT (.*)$", out, re.MULTILINE)[1].split()]


HEAD = ["answer", "proxy", "requests/s", "p50 ms", "p99 ms", "CPU µs/request", "× nginx", "× HAProxy", "RSS MB", "peak MB", "errors"]


def rows(runs, sizes):
    for size in sizes:
        for name in PROXIES:
            mine = runs[size, name]
            costs = ["-"] * 5
            if name != "direct":
                costs = [spread([run.cpu for run in mine]), ratio(mine, runs[size, "nginx"]), ratio(mine, runs[size, "haproxy"]),
                         f"{median(run.resident for run in mine) / rig.MB:.1f}", f"{max(run.peak for run in mine) / rig.MB:.1f}"]
            yield [size, name, spread([run.rate for run in mine]), spread([run.p50 for run in mine]), spread([run.p99 for run in mine]),
                   *costs, sum(run.errors for run in mine)]


def ratio(mine, theirs):
    """CPU per request against another proxy's in the same rotation."""
    return spread([a.cpu / b.cpu for a, b in zip(mine, theirs)])


def record(report):
    """Puts the report between the two marks in docs/bench.md."""
    page = rig.ROOT / "docs/bench.md"
    text, found = re.subn(r"(<!-- bench proxy -->\n).*?(<!-- end -->)", lambda mark: f"{mark[1]}{report}\n{mark[2]}", page.read_text(), flags=re.DOTALL)
    if not found:
        raise SystemExit(f"{page} has no <!-- bench proxy --> ... <!-- end --> to replace")
    page.write_text(text)
