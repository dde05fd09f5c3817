"""Everything that generates pictures on this machine: PocketBase with our hooks, the simulator, the sidecar, and users with sessions."""

import http.client
import json
import re
import subprocess
import time

import rig

PASSWORD = "correct horse battery"


class Engine:
    """The three programs, started in a rig."""

    def __init__(self, bench, binary, simulator=(), sidecar=()):
        self.pocketbase = pocketbase(bench)
        self.simulator = start_simulator(bench, binary, simulator)
        base = f"http://127.0.0.1:{self.simulator.port}"
        port = rig.free_port()
        argv = [binary, "serve", "--listen", f"127.0.0.1:{port}", "--pocketbase-url", f"http://127.0.0.1:{self.pocketbase.port}",
                "--pocketbase-email", rig.SUPERUSER[0], "--pocketbase-password", rig.SUPERUSER[1], "--kdf-iterations", "100000",
                "--fal-queue-url", f"{base}/queue", "--fal-rest-url", f"{base}/rest", "--fal-api-url", f"{base}/api",
                "--fal-media-hosts", "127.0.0.1", "--jobs-per-minute", "off",
                "--unlocks-per-minute-per-address", "off", "--unlocks-per-minute-per-user", "off", *sidecar]
        self.sidecar = bench.start("generatio", argv, port)
        deadline = time.monotonic() + 30
        while "PocketBase is ready for our endpoints" not in self.sidecar.log.read_text():
            if time.monotonic() > deadline:
                raise SystemExit(f"the sidecar is not ready:\n{self.sidecar.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def users(self, count):
        """New users, each with a key of their own and an open session."""
        return [User(self, number) for number in range(count)]

    def superuser(self, method, path, body=None):
        """One request to PocketBase that must succeed."""
        return rig.ask(self.pocketbase.port, method, path, body, self.pocketbase.token)

    def rows(self, collection, fields):
        """All rows of a collection."""
        found, page = [], 1
        while True:
            items = self.superuser("GET", f"/api/collections/{collection}/records?perPage=500&skipTotal=1&sort=id&page={page}&fields={fields}")["items"]
            found += items
            if len(items) < 500:
                return found
            page += 1

    def sim(self, path):
        """What the simulator says of itself."""
        return rig.ask(self.simulator.port, "GET", f"/_sim/{path}")


class User:
    """A user whose requests go through the sidecar."""

    def __init__(self, engine, number):
        email = f"u{number}@example.com"
        account = {"email": email, "password": PASSWORD, "passwordConfirm": PASSWORD}
        self.port, self.key = engine.sidecar.port, f"team{number}"
        self.id = engine.superuser("POST", "/api/collections/generatio_users/records", account)["id"]
        users = "/api/collections/generatio_users/auth-with-password"
        self.token = rig.ask(engine.pocketbase.port, "POST", users, {"identity": email, "password": PASSWORD})["token"]
        self.session = ""
        self.must("POST", "tokens/setup", {"fal_token": f"{self.key}:bench-only-key", "password": PASSWORD})
        self.session = self.must("POST", "auth/create-session", {"password": PASSWORD})["session_id"]

    def ask(self, method, path, body=None, headers=None):
        """One request to one of our endpoints, on a connection of its own."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"Content-Type": "application/json", "Authorization": self.token, "X-Session-ID": self.session, **(headers or {})}
        client.request(method, f"/api/custom/{path}", json.dumps(body) if body is not None else None, headers)
        answer = client.getresponse()
        return answer.status, json.loads(answer.read() or b"null")

    def must(self, method, path, body=None):
        """The same, where anything but success ends the run."""
        status, found = self.ask(method, path, body)
        if status >= 300:
            raise SystemExit(f"{method} {path}: {status} {found}")
        return found


def pocketbase(bench):
    """A real PocketBase with our migrations and hooks."""
    binary, port, data = rig.pocketbase_binary(), rig.free_port(), bench.dir / "pb"
    folders = [f"--dir={data}", f"--migrationsDir={rig.ROOT}/pb_migrations", f"--hooksDir={rig.ROOT}/pb_hooks", "--hooksWatch=false",
               "--automigrate=false"]
    subprocess.run([binary, "superuser", "upsert", *rig.SUPERUSER, *folders], check=True, stdout=subprocess.DEVNULL)
    process = bench.start("pocketbase", [binary, "serve", f"--http=127.0.0.1:{port}", *folders], port)
    credentials = {"identity": rig.SUPERUSER[0], "password": rig.SUPERUSER[1]}
    process.token = rig.ask(port, "POST", "/api/collections/_superusers/auth-with-password", credentials)["token"]
    return process


def start_simulator(bench, binary, flags):
    """`generatio fal-sim` with rich accounts that run as much as they like at once."""
    port = rig.free_port()
    argv = [binary, "fal-sim", "--listen", f"127.0.0.1:{port}", "--concurrency", "1000", "--balance", "100000", *flags]
    return bench.start("fal-sim", argv, port, path="/_sim/clock")


def seconds(text):
    """`1.5s`, `20ms` as seconds."""
    number, unit = re.fullmatch(r"([0-9.]+)(ms|s)", text).groups()
    return float(number) / (1000 if unit == "ms" else 1)
