"""`scripts/bench generate`: many generations on the simulator, and what the sidecar adds to FAL's own time.

The same pictures are made twice: first by clients of FAL's queue itself (submit, status stream, result, download), which gives FAL's own
time on this machine, then through the sidecar. Every picture is stored and charged: a run in which one job did not settle exits 1. Writes
are counted in PocketBase's own request log.
"""

import argparse
import collections
import http.client
import json
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
    parser.add_argument("--over", default="0s", metavar="TIME", help="asked for evenly over this time (0s: all at once)")
    parser.add_argument("--size", type=int, default=1024, metavar="PIXELS", help="width and height of each picture (1024)")
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
    fals, _ = timed(options, lambda number: direct(there, users[number % len(users)].key, order(options, number)))
    before, _ = there.sidecar.memory()
    there.sidecar.forget_peak()
    begun = time.strftime("%Y-%m-%d %H:%M:%S.000Z", time.gmtime(time.time() + 1))
    time.sleep(1.5)
    cpu = there.sidecar.cpu_seconds()
    ours, statuses = timed(options, lambda number: through(users[number % len(users)], order(options, number)))
    cpu = there.sidecar.cpu_seconds() - cpu
    _, peak = there.sidecar.memory()
    after, _ = there.sidecar.memory()
    jobs = collections.Counter(job["status"] for job in there.rows("generations", "id,status"))
    writes = counted(there, begun)
    how = "at once" if engine.seconds(options.over) == 0 else f"over {options.over}"
    print(f"{options.count} generations of {options.size} x {options.size} {how} for {options.users} users, "
          f"{options.queue} in the queue and {options.run} at work\n")
    spread = lambda took: " / ".join(f"{1000 * rig.percentile(took, share):,.0f} ms" for share in (0.5, 0.99))
    added = [1000 * (rig.percentile(ours, share) - rig.percentile(fals, share)) for share in (0.5, 0.99)]
    print(rig.table(["", "measured"], [
        ["answers", ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))],
        ["jobs (one to warm up)", ", ".join(f"{count} {status}" for status, count in sorted(jobs.items()))],
        ["FAL alone, p50 / p99", spread(fals)],
        ["through the sidecar, stored and charged, p50 / p99", spread(ours)],
        ["added, p50 / p99", " / ".join(f"{each:,.0f} ms" for each in added)],
        ["sidecar, resident before, at most, after", " / ".join(f"{size / rig.MB:.1f} MB" for size in (before, peak, after))],
        ["sidecar, CPU for each", f"{1000 * cpu / options.count:.1f} ms"],
        ["writes to PocketBase for each", f"{sum(writes.values()) / options.count:.2f}"],
        *([f"  {kind}", f"{count / options.count:.2f}"] for kind, count in sorted(writes.items())),
    ]))
    return statuses == {200: options.count} and jobs == {"completed": options.count + 1}


def timed(options, one):
    """Seconds that each took, and what they gave, counted."""
    took, outcomes, lock = [], collections.Counter(), threading.Lock()
    begin = time.monotonic() + 0.1
    pause = engine.seconds(options.over) / options.count

    def run(number):
        time.sleep(max(0, begin + number * pause - time.monotonic()))
        start = time.monotonic()
        outcome = one(number)
        with lock:
            took.append(time.monotonic() - start)
            outcomes[outcome] += 1

    threads = [threading.Thread(target=run, args=[number]) for number in range(options.count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took, outcomes


def order(options, number):
    return {"prompt": f"bench {number}", "image_size": {"width": options.size, "height": options.size}}


def through(user, order):
    """One generation through the sidecar, waited for."""
    prompt = order.pop("prompt")
    status, _ = user.ask("POST", "generate/image", {"model": "flux/schnell", "prompt": prompt, "parameters": order})
    return status


def direct(there, key, order):
    """The same by FAL's queue alone, as FAL's own clients do it."""
    headers = {"Authorization": f"Key {key}:bench-only-key", "Content-Type": "application/json"}

    def get(url):
        parts = urllib.parse.urlsplit(url)
        client = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
        client.request("GET", parts.path, headers=headers if "/queue/" in url else {})
        return client.getresponse()

    client = http.client.HTTPConnection("127.0.0.1", there.simulator.port, timeout=120)
    client.request("POST", "/queue/fal-ai/flux/schnell", json.dumps(order), headers)
    job = json.loads(client.getresponse().read())
    states = get(f"{job['status_url']}/stream")
    while b"COMPLETED" not in states.readline():
        pass
    for image in json.loads(get(job["response_url"]).read())["images"]:
        get(image["url"]).read()


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
