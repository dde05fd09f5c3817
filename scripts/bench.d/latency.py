"""`scripts/bench latency`: what each proxy adds to the time of a small answer, at half of saturation and nearly idle.

An open loop: requests are sent at a fixed rate whatever becomes of earlier ones, and the time of each counts from the moment at which it
was due. wrk with open-loop.lua does that, a thread for each connection. h2load --rps does not: it looks every 10 ms which requests are
due, sends those in a row, and counts from the sending. Half of saturation is half of what the slowest of the three proxies answers
in a closed loop of the same clients. What is added is the difference to the turn without a proxy in the same rotation.
"""

import argparse
import math
import subprocess
from collections import defaultdict
from dataclasses import dataclass

import proxy
import rig
from turns import Cost, order, spread, where

PATH, LENGTH = proxy.SIZES["50B"]
WARM = 1  # second before the requests that count
GRACE = 1  # second for the start of all connections and, after the requests that count, for answers that are late


@dataclass
class Run:
    """One proxy asked at one rate for some seconds."""

    p50: float  # microseconds
    p99: float
    cpu: float  # microseconds of the proxy's processes per request
    missing: int  # requests that were due and not answered when the turn ended
    errors: int
    others: float  # percentage of the machine that other programs used


def main(arguments):
    options = parse(arguments)
    rig.need("nginx", "haproxy", "wrk")
    binary = rig.sidecar_binary()
    with rig.Rig() as bench:
        upstream = proxy.start_haproxy(bench, "small-answers")
        targets = proxy.start_proxies(bench, binary, upstream.port)
        for target in targets.values():
            proxy.check(target.port, PATH, LENGTH)
        rates, found = options.rate, "given by --rate"
        if not rates:
            most = {name: saturation(target, options) for name, target in targets.items() if name != "direct"}
            rates = [min(most.values()) // 2, options.low]
            found = "half of the slowest in a closed loop (" + ", ".join(f"{name} {value:,.0f}/s" for name, value in most.items()) + "), and nearly idle"
        runs = rotate(targets, rates, options, bench)
    print(f"{options.connections} connections, {options.rotations} rotations of {options.seconds:g} s at each rate; rates: {found}; "
          f"{where(binary, [run.others for turns in runs.values() for run in turns])}.\n")
    print(rig.table(HEAD, rows(runs, rates)))


def parse(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rotations", type=int, default=7, help="turns each proxy gets at each rate (default 7)")
    parser.add_argument("--seconds", type=float, default=5, help="length of one turn, after a second of warming up (default 5)")
    parser.add_argument("--connections", type=int, default=proxy.CONNECTIONS, help=f"keep-alive connections (default {proxy.CONNECTIONS})")
    parser.add_argument("--rate", type=int, nargs="+", metavar="N", help="requests a second (default: half of saturation, and the low rate)")
    parser.add_argument("--low", type=int, default=2000, metavar="N", help="the low rate (default 2000)")
    parser.add_argument("--quick", action="store_true", help="one rotation of one second: does everything work? Its figures mean nothing")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rotations, options.seconds = 1, 1
    return options


def saturation(target, options):
    """Answers a second in a closed loop of as many clients."""
    took, _, _ = load(target.port, 0, options)
    return len(took) / options.seconds


def rotate(targets, rates, options, bench):
    """{(rate, proxy): [Run, one for each rotation]}."""
    runs = defaultdict(list)
    for turn in range(options.rotations):
        for rate in rates:
            for name in order(targets, turn):
                runs[rate, name].append(measure(targets[name], rate, options, bench))
    return runs


def measure(target, rate, options, bench):
    with Cost(target, bench) as cost:
        took, answered, errors = load(target.port, rate, options)
    missing = round(rate * options.seconds) - len(took)
    return Run(rig.percentile(took, 0.5), rig.percentile(took, 0.99), cost.cpu / answered * 1e6, missing, errors, cost.others)


def load(port, rate, options):
    """Microseconds of each answer whose request was due in the seconds that count, all answers, and errors. A rate of 0 is a closed loop."""
    seconds = WARM + options.seconds + GRACE
    argv = ["wrk", f"-t{options.connections}", f"-c{options.connections}", f"-d{math.ceil(seconds)}s", "--timeout", "10s", "-s", proxy.HERE / "open-loop.lua",
            f"http://127.0.0.1:{port}{PATH}", "--", str(rate), str(options.connections), str(WARM), str(options.seconds)]
    out = subprocess.run(argv, check=True, text=True, stdout=subprocess.PIPE, timeout=seconds + 30).stdout
    errors, answered, *took = map(int, next(line for line in out.splitlines() if line.startswith("RESULT ")).split()[1:])
    if not took:
        raise SystemExit(f"nothing was answered at port {port}:\n{out[:2000]}")
    return took, answered, errors


HEAD = ["requests/s", "proxy", "p50 µs", "p99 µs", "added p50 µs", "added p99 µs", "CPU µs/request", "not answered", "errors"]


def rows(runs, rates):
    for rate in rates:
        for name in proxy.PROXIES:
            mine, direct = runs[rate, name], runs[rate, "direct"]
            added = ["-"] * 3
            if name != "direct":
                added = [spread([a.p50 - b.p50 for a, b in zip(mine, direct)]), spread([a.p99 - b.p99 for a, b in zip(mine, direct)]),
                         spread([run.cpu for run in mine])]
            yield [f"{rate:,.0f}", name, spread([run.p50 for run in mine]), spread([run.p99 for run in mine]), *added,
                   sum(run.missing for run in mine), sum(run.errors for run in mine)]
