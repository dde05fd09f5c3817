"""`scripts/bench memory`: what an idle client and a realtime subscription take of each proxy's memory, and how late an event is.

Each proxy is started anew in front of a real PocketBase, once for crowds of clients that ask once and stay silent on their connections, one
crowd after another, and once in each rotation for realtime subscriptions to one collection. A superuser then creates records, and the delay
counts from just before the create request, which takes the same way, to the arrival at each subscriber as the kernel notes it: the client
reads only when all is over, so that it takes no CPU from those who pass the event on. Without a proxy it is PocketBase's own share. HAProxy has
`option http-no-delay`: without it it holds every event back for 200 ms.
"""

import argparse
import resource
import time
from collections import defaultdict
from dataclasses import dataclass
from statistics import median

import proxy
import rig
from crowd import Crowd
from turns import Cost, order, spread, where

SETTLE = 1  # second of quiet before memory is read
EVENT = 2  # seconds after which an event has been passed on to all; who had to wait longer is counted all the same
CROWDS = 5  # of idle clients, one after another: what is not given back is used again, or it is not
SPARE = 500  # descriptors that are for something else than clients
COLLECTION = "news"


@dataclass
class Run:
    """Subscribers of one proxy, and the events that they were sent."""

    before: int  # resident bytes without any
    after: int  # with all of them
    events: int  # resident bytes after the events
    delays: list  # for each event the milliseconds of every subscriber
    cpu: float  # seconds of the proxy's processes for all events
    others: float  # percentage of the machine that other programs used


def main(arguments):
    options = parse(arguments)
    rig.need("nginx", "haproxy")
    binary = rig.sidecar_binary()
    allowed = descriptors()
    clients, subscribers = (min(wanted, (allowed - SPARE) // 2) for wanted in (options.clients, options.subscribers))
    with rig.Rig() as bench:
        pocketbase = bench.pocketbase()
        rig.ask(pocketbase.port, "POST", "/api/collections",
                {"name": COLLECTION, "type": "base", "listRule": "", "viewRule": "", "fields": [{"name": "text", "type": "text"}]}, pocketbase.token)
        idle = [idle_row(bench, binary, name, pocketbase, clients) for name in starters(bench, binary, pocketbase, 0)]
        subscribed(bench, binary, "direct", pocketbase, min(subscribers, 1000), 1)  # PocketBase's first events are not like its others
        runs = defaultdict(list)
        for turn in range(options.rotations):
            for name in order(proxy.PROXIES, turn):
                runs[name].append(subscribed(bench, binary, name, pocketbase, subscribers, options.events))
    print(f"{clients:,} idle clients; {options.rotations} rotations of {subscribers:,} subscribers and {options.events} events; "
          f"{allowed:,} descriptors are allowed; {where(binary, [run.others for turns in runs.values() for run in turns], pocketbase=True)}.\n")
    print(rig.table(IDLE_HEAD, idle))
    print()
    print(rig.table(HEAD, rows(runs, subscribers)))


def parse(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rotations", type=int, default=3, help="crowds of subscribers for each proxy (default 3)")
    parser.add_argument("--events", type=int, default=5, help="records that are created for each crowd (default 5)")
    parser.add_argument("--clients", type=int, default=8000, metavar="N", help="idle clients, if descriptors allow (default 8000)")
    parser.add_argument("--subscribers", type=int, default=8000, metavar="N", help="realtime subscriptions, if descriptors allow (default 8000)")
    parser.add_argument("--quick", action="store_true", help="one rotation of two events, 200 of each: does everything work? Its figures mean little")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rotations, options.events, options.clients, options.subscribers = 1, 2, 200, 200
    return options


def descriptors():
    """Raises the limit for this program and those it starts as far as it may; what it is now."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 65536 if most == resource.RLIM_INFINITY else most
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def starters(bench, binary, pocketbase, count):
    """What starts each proxy so that it can hold so many clients."""
    port, room = pocketbase.port, count + SPARE // 4
    return {
        "generatio": lambda: bench.sidecar(binary, port, flags=["--max-connections", room]),
        "nginx": lambda: proxy.start_nginx(bench, "nginx", upstream=port, connections=2 * room, descriptors=2 * room),
        "haproxy": lambda: proxy.start_haproxy(bench, "haproxy", upstream=port, connections=room, option="option http-no-delay"),
    }


def idle_row(bench, binary, name, pocketbase, count):
    target = starters(bench, binary, pocketbase, count)[name]()
    before, during = settled(target), []
    for _ in range(CROWDS):
        with Crowd(target.port) as crowd:
            crowd.idle(count)
            during.append(settled(target))
        after = settled(target)
    bench.stop(target)
    each = [f"{(resident - before) / count / 1000:.1f}" for resident in (during[0], during[-1])]
    return [name, f"{before / rig.MB:.1f}", f"{during[0] / rig.MB:.1f}", each[0], f"{during[-1] / rig.MB:.1f}", each[1], f"{after / rig.MB:.1f}"]


def settled(target):
    """Resident bytes after a moment of quiet."""
    time.sleep(SETTLE)
    return target.memory()[0]


def subscribed(bench, binary, name, pocketbase, count, events):
    """One crowd of subscribers at a new proxy, or at PocketBase itself."""
    at_rest = pocketbase.descriptors("socket:")
    target = rig.Nobody(pocketbase.port) if name == "direct" else starters(bench, binary, pocketbase, count)[name]()
    before = settled(target)
    with Crowd(target.port) as crowd:
        crowd.subscribe(count, f"{COLLECTION}/*")
        after = settled(target)
        with Cost(target, bench) as cost:
            delays = [event(crowd, pocketbase, number) for number in range(events)]
        at_end = target.memory()[0]
    if name != "direct":
        bench.stop(target)
    wait_until_left(pocketbase, at_rest)
    return Run(before, after, at_end, delays, cost.cpu, cost.others)


def event(crowd, pocketbase, number):
    """Creates a record; how many milliseconds later each subscriber had heard of it."""
    text = f"event {number}"
    since = time.time_ns()
    rig.ask(crowd.port, "POST", f"/api/collections/{COLLECTION}/records", {"text": text}, pocketbase.token)
    time.sleep(EVENT)
    return crowd.delays(since, text.encode())


def wait_until_left(pocketbase, at_rest):
    """Until PocketBase has noticed that its subscribers are gone, but for a few connections."""
    deadline = time.monotonic() + 60
    while (held := pocketbase.descriptors("socket:")) > at_rest + SPARE // 5:
        if time.monotonic() > deadline:
            raise SystemExit(f"PocketBase still holds {held} sockets")
        time.sleep(0.1)


IDLE_HEAD = ["proxy", "RSS MB just started", "with idle clients", "KB for each", f"with crowd no. {CROWDS}", "KB for each", "when all have left"]
HEAD = ["way", "RSS MB without", "with subscribers", "KB for each", "after the events", "delay p50 ms", "p99 ms", "max ms", "added p99 ms", "CPU ms/event"]


def rows(runs, count):
    for name in proxy.PROXIES:
        mine = runs[name]
        of = {what: [[choose(delays) for delays in run.delays] for run in mine] for what, choose in CHOICES.items()}
        memory, added, cpu = ["-"] * 4, "-", "-"
        if name != "direct":
            memory = [*(f"{median(getattr(run, when) for run in mine) / rig.MB:.1f}" for when in ("before", "after")),
                      f"{median((run.after - run.before) / count for run in mine) / 1000:.1f}", f"{median(run.events for run in mine) / rig.MB:.1f}"]
            own = [median(rig.percentile(delays, 0.99) for delays in run.delays) for run in runs["direct"]]
            added = spread([median(values) - other for values, other in zip(of["p99"], own)])
            cpu = spread([run.cpu / len(run.delays) * 1e3 for run in mine])
        yield [name, *memory, *(spread([value for values in of[what] for value in values]) for what in CHOICES), added, cpu]


CHOICES = {"p50": lambda delays: rig.percentile(delays, 0.5), "p99": lambda delays: rig.percentile(delays, 0.99), "max": max}
