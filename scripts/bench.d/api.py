"""`scripts/bench api`: what our own endpoints cost for a user with a long history, and how often each of them asks PocketBase.

One user has 100,000 images, as many charges in the ledger, 1,000 folders and preferences. Each route is asked on one kept connection, one request
after another, with a token that the sidecar knows. CPU is that of the sidecar and of PocketBase, by /proc/PID/stat; PocketBase's log of requests
is off meanwhile. How many requests a route makes is counted in that log, in a turn of its own.
"""

import argparse
import http.client
import json
import sqlite3
import time
from statistics import median

import engine
import rig

ASKED = 10  # requests of each route in the turn that counts
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)"
FOLDERS = f"""{NUMBERS} INSERT INTO folders (id, user_id, name, parent_id, private, deleted_at, created, updated)
SELECT printf('%015d', i), :user, 'folder ' || i, CASE WHEN i > 10 THEN printf('%015d', i % 10 + 1) ELSE '' END, 0, '', {{time}}, {{time}} FROM n"""
IMAGES = f"""{NUMBERS} INSERT INTO images (id, user_id, title, prompt, model, url, request_id, image_size, job_id, folder_id, deleted_at, created, updated, cost_micros,
batch_number) SELECT printf('%015d', i), :user, '', 'a picture of the number ' || i, CASE i % 3 WHEN 0 THEN 'flux/schnell' ELSE 'hidream/hidream-i1-dev' END,
'/api/files/images/' || printf('%015d', i) || '/picture.jpg', 'r-' || i, '{{{{"width":1024,"height":768}}}}', 'job', printf('%015d', i % :folders + 1),
CASE WHEN i % 70 = 0 THEN '2026-01-01 00:00:00.000Z' ELSE '' END, {{time}}, {{time}}, 3000, 0 FROM n"""
CHARGES = f"""{NUMBERS} INSERT INTO spend_events (id, user_id, job_id, kind, amount_micros, images, units, unit_price, estimated, model, created)
SELECT printf('%015d', i), :user, 'job' || i, 'generation', 3000, 1, 1, 0.003, 0, 'flux/schnell', {{time}} FROM n"""
# The last one is of this moment, the others of every five minutes before: about a year for 100,000.
TIME = "strftime('%Y-%m-%d %H:%M:%fZ', 'now', ((i - :count) * 300) || ' seconds')"


def main(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench api", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, help="of the one user (100,000)")
    parser.add_argument("--folders", type=int, default=1000, help="of the one user (1,000)")
    parser.add_argument("--seconds", type=float, default=3, help="length of one turn of one route (3)")
    parser.add_argument("--rotations", type=int, default=3, help="turns of each route (3)")
    options = parser.parse_args(arguments)
    binary = rig.sidecar_binary()
    with rig.Rig() as bench:
        there = engine.Engine(bench, binary)
        user = there.users(1)[0]
        history(there.pocketbase.data / "data.db", user, options)
        user.must("POST", "preferences/flux/schnell", {"num_images": 2, "seed": 7})
        client = Client(user)
        routes = list_routes(client)
        asked = count(there, client, routes)
        there.superuser("PATCH", "/api/settings", {"logs": {"maxDays": 0}})
        turns = {name: [] for name in routes}
        for _ in range(options.rotations):
            for name, request in routes.items():
                turns[name].append(turn(there, client, request, options.seconds))
    report(routes, asked, turns, options)


def history(path, user, options):
    """Rows as years of use leave them, put straight into PocketBase's database."""
    database = sqlite3.connect(path, timeout=60)
    many = {"user": user.id, "count": options.images, "folders": options.folders}
    database.execute(FOLDERS.format(time=TIME), {**many, "count": options.folders})
    database.execute(IMAGES.format(time=TIME), many)
    database.execute(CHARGES.format(time=TIME), many)
    database.commit()
    database.execute("ANALYZE")
    database.close()


class Client:
    """One kept connection of a user's."""

    def __init__(self, user):
        self.connection = http.client.HTTPConnection("127.0.0.1", user.port, timeout=60)
        self.headers = {"Authorization": user.token, "Content-Type": "application/json"}

    def ask(self, method, path, body=None):
        """The bytes of an answer, which must be 200."""
        self.connection.request(method, f"/api/custom/{path}", json.dumps(body) if body is not None else None, self.headers)
        answer = self.connection.getresponse()
        found = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{method} {path}: {answer.status} {found[:300]!r}")
        return found


def list_routes(client):
    """What is asked, by its name in the table."""
    deep = json.loads(client.ask("GET", "images?limit=100"))["next"]
    for _ in range(20):
        deep = json.loads(client.ask("GET", f"images?limit=100&cursor={deep}"))["next"]
    folder = json.loads(client.ask("GET", "collections"))["collections"][-1]["id"]
    return {
        "auth/token-status": ("GET", "auth/token-status"),
        "generate/models": ("GET", "generate/models"),
        "financial/stats": ("GET", "financial/stats"),
        "preferences/{name}": ("GET", "preferences/flux/schnell"),
        "preferences/get": ("POST", "preferences/get", {"model_name": "flux/schnell"}),
        "collections": ("GET", "collections"),
        "collections/{id}": ("GET", f"collections/{folder}"),
        "collections/{id}/images": ("GET", f"collections/{folder}/images"),
        "images": ("GET", "images"),
        "images, limit 100": ("GET", "images?limit=100"),
        "images, page 22": ("GET", f"images?limit=100&cursor={deep}"),
        "images, one model": ("GET", "images?model=flux/schnell"),
        "images, common text": ("GET", "images?q=picture"),
        "images, text of none": ("GET", "images?q=nowhere"),
        "images, deleted": ("GET", "images?deleted=true"),
    }


def count(there, client, routes):
    """Requests to PocketBase for each request of a route; what the sidecar asks of its own accord is left out."""
    mark = lambda name: rig.ask(there.pocketbase.port, "GET", f"/api/health?mark={name}")
    for name, request in routes.items():
        client.ask(*request)
        mark(list(routes).index(name))
        for _ in range(ASKED):
            client.ask(*request)
        mark("between")
    mark("end")
    found, name = {name: 0 for name in routes}, None
    for url in logged(there):
        if "/api/health?mark=" in url:
            at = url.partition("mark=")[2]
            name = list(routes)[int(at)] if at.isdecimal() else None
        elif name and not any(part in url for part in ("generatio_meta", "/api/realtime", "/api/settings", "/api/logs")):
            found[name] += 1
    return {name: number / ASKED for name, number in found.items()}


def logged(there):
    """The addresses in PocketBase's log of requests, in their order, once the last mark is in it: it is written every three seconds."""
    database = sqlite3.connect(f"file:{there.pocketbase.data / 'auxiliary.db'}?mode=ro", uri=True, timeout=60)
    for _ in range(200):
        rows = database.execute("SELECT json_extract(data, '$.url') FROM _logs WHERE json_extract(data, '$.type') = 'request' ORDER BY rowid").fetchall()
        urls = [row[0] for row in rows]
        if any("mark=end" in url for url in urls):
            return urls
        time.sleep(0.1)
    raise SystemExit("PocketBase did not write its log")


def turn(there, client, request, seconds):
    """Milliseconds of each request, and CPU microseconds a request of the sidecar and of PocketBase."""
    client.ask(*request)
    before, took, start = [there.sidecar.cpu_seconds(), there.pocketbase.cpu_seconds()], [], time.perf_counter()
    while time.perf_counter() < start + seconds:
        began = time.perf_counter()
        client.ask(*request)
        took.append((time.perf_counter() - began) * 1e3)
    after = [there.sidecar.cpu_seconds(), there.pocketbase.cpu_seconds()]
    return took, *((late - early) * 1e6 / len(took) for early, late in zip(before, after))


def report(routes, asked, turns, options):
    rows = []
    for name in routes:
        p50, p99 = (median(rig.percentile(took, share) for took, *_ in turns[name]) for share in (0.5, 0.99))
        ours, theirs = (median(turn[which] for turn in turns[name]) for which in (1, 2))
        requests = sum(len(took) for took, *_ in turns[name])
        rows.append([name, requests, f"{p50:.2f}", f"{p99:.2f}", f"{ours:,.0f}", f"{theirs:,.0f}", f"{asked[name]:g}"])
    print(f"{options.images:,} images and as many charges, {options.folders:,} folders; {options.rotations} turns of {options.seconds:g} s for each route, "
          "one kept connection; medians over turns.\n")
    print(rig.table(["route", "requests", "p50 ms", "p99 ms", "sidecar CPU µs", "PocketBase CPU µs", "asks PocketBase"], rows))
