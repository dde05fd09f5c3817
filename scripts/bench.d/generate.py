"""`scripts/bench generate`: many generations at once on the simulator, and what the sidecar adds to FAL's own time.

Every picture is stored, charged and compared: a run in which one job did not settle exits 1. Writes are counted in PocketBase's own
request log.
"""

import argparse
import collections
import re
import sys
import threading
import time
import urllib.parse

import engine
import rig


def main(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench generate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="generations at once (200)")
    parser.add_argument("--users", type=int, default=10, help="who ask for them (10)")
    parser.add_argument("--queue", default="2s", metavar="TIME", help="in FAL's queue (2s)")
    parser.add_argument("--run", default="2s", metavar="TIME", help="at work (2s)")
    options = parser.parse_args(arguments)
    binary = rig.sidecar_binary()
    with rig.Rig() as bench:
        slots = str(max(1, -(-options.count // options.users)))
        there = engine.Engine(bench, binary, ["--queue-delay", options.queue, "--run-time", options.run], ["--jobs-per-user", slots])
        users = there.users(options.users)
        users[0].must("POST", "generate/image", {"model": "flux/schnell", "prompt": "warm"})
        settled = measure(there, users, options)
    sys.exit(0 if settled else 1)


def measure(there, users, options):
    """One run; says whether all jobs settled."""
    before, _ = there.sidecar.memory()
    there.sidecar.forget_peak()
    begun = time.strftime("%Y-%m-%d %H:%M:%S.000Z", time.gmtime(time.time() + 1))
    time.sleep(1.5)
    cpu = there.sidecar.cpu_seconds()
    took, statuses, lock = [], collections.Counter(), threading.Lock()

    def one(number):
        start = time.monotonic()
        status, _ = users[number % len(users)].ask("POST", "generate/image", {"model": "flux/schnell", "prompt": f"bench {number}"})
        with lock:
            took.append(time.monotonic() - start)
            statuses[status] += 1

    threads = [threading.Thread(target=one, args=[number]) for number in range(options.count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu = there.sidecar.cpu_seconds() - cpu
    _, peak = there.sidecar.memory()
    after, _ = there.sidecar.memory()
    jobs = collections.Counter(job["status"] for job in there.rows("generations", "id,status"))
    fals = engine.seconds(options.queue) + engine.seconds(options.run)
    added = [1000 * (each - fals) for each in took]
    writes = counted(there, begun)
    print(f"{options.count} generations at once for {options.users} users, {options.queue} in the queue and {options.run} at work\n")
    print(rig.table(["", "measured"], [
        ["answers", ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))],
        ["jobs (one to warm up)", ", ".join(f"{count} {status}" for status, count in sorted(jobs.items()))],
        ["added to FAL's time, p50", f"{rig.percentile(added, 0.5):.0f} ms"],
        ["added to FAL's time, p99", f"{rig.percentile(added, 0.99):.0f} ms"],
        ["sidecar, resident before, at most, after", " / ".join(f"{size / rig.MB:.1f} MB" for size in (before, peak, after))],
        ["sidecar, CPU for each", f"{1000 * cpu / options.count:.1f} ms"],
        ["writes to PocketBase for each", f"{sum(writes.values()) / options.count:.2f}"],
        *([f"  {kind}", f"{count / options.count:.2f}"] for kind, count in sorted(writes.items())),
    ]))
    return statuses == {200: options.count} and jobs == {"completed": options.count + 1}


def counted(there, begun):
    """Writes since then, by kind. PocketBase keeps its log a few seconds behind."""
    found, last = collections.Counter(), -1
    while sum(found.values()) != last:
        last = sum(found.values())
        time.sleep(4)
        found = collections.Counter(kind for kind in map(kind_of, log(there, begun)) if kind)
    return found


def log(there, begun):
    """The requests that PocketBase has logged since then."""
    page = 1
    while True:
        query = urllib.parse.urlencode({"filter": f"created >= '{begun}' && data.type = 'request'", "perPage": 500, "page": page, "skipTotal": 1})
        items = there.superuser("GET", f"/api/logs?{query}")["items"]
        yield from items
        if len(items) < 500:
            return
        page += 1


def kind_of(entry):
    """What a logged request writes; none where it only reads or signs in."""
    method, url = entry["data"].get("method"), entry["data"].get("url", "").split("?")[0]
    if url == "/api/batch":
        return "settlement (batch)"
    place = re.fullmatch(r"/api/collections/(\w+)/records(/\w+)?", url)
    if not place or method in ("GET", "HEAD"):
        return None
    return f"{place[1]}, {method}"
