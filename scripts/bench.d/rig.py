"""Starts and stops what a measurement needs, and reads what it costs from /proc. Linux only."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"h2load": "nghttp2-client"}  # where the package has another name than the tool
SUPERUSER = ("bench@example.com", "bench-only-password")
MB = 1_000_000
# What a measurement does in a minute, no person does.
UNHURRIED = [flag for limit in ("logins-per-minute-per-address", "unlocks-per-minute-per-address", "unlocks-per-minute-per-user")
             for flag in (f"--{limit}", "off")]


def need(*tools):
    """Installs the Debian packages of missing tools if it may; otherwise says what is missing and exits 69."""
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    missing = [PACKAGES.get(tool, tool) for tool in tools if not shutil.which(tool)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(f"missing: {' '.join(missing)}. Install with: apt-get install {' '.join(missing)}", file=sys.stderr)
        raise SystemExit(69)
    quiet = {"stdout": sys.stderr, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    subprocess.run(["apt-get", "update", "-q"], check=False, **quiet)
    subprocess.run(["apt-get", "install", "-qy", "--no-install-recommends", *missing], check=True, **quiet)


def sidecar_binary():
    """GENERATIO_BIN, else the release build of this tree."""
    if given := os.environ.get("GENERATIO_BIN"):
        return str(Path(given).resolve())
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True, stdout=sys.stderr)
    return str(ROOT / "target/release/generatio")


def pocketbase_binary():
    """What scripts/pocketbase finds or fetches."""
    return subprocess.run([ROOT / "scripts/pocketbase"], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def free_port():
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def busy_seconds():
    """CPU time that the whole machine has spent since boot, other machines' share of its CPUs included."""
    user, nice, system, _idle, _wait, irq, softirq, stolen = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")


class Nobody:
    """No proxy at all: the port of the upstream itself."""

    def __init__(self, port):
        self.port = port

    def cpu_seconds(self):
        return 0

    def memory(self):
        return 0, 0

    def forget_peak(self):
        """There is nothing to forget."""


class Process:
    """A running program with its descendants, listening on 127.0.0.1:port."""

    def __init__(self, name, popen, port, log):
        self.name, self.popen, self.port, self.log = name, popen, port, log

    def pids(self):
        """The program and all its descendants (nginx does its work in those)."""
        found, todo = [], [self.popen.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                todo += [int(child) for child in children.read_text().split()]
        return found

    def cpu_seconds(self):
        """User and system time of all threads so far."""
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """(resident, highest resident) in bytes, summed over processes: pages they share are counted in each."""
        resident = highest = 0
        for pid in self.pids():
            lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            resident += int(lines["VmRSS"].split()[0]) * 1024
            highest += int(lines["VmHWM"].split()[0]) * 1024
        return resident, highest

    def forget_peak(self):
        """Lets the highest resident size start again from now."""
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def descriptors(self, kind=""):
        """Open descriptors, or only those whose target begins with `kind` ("socket:")."""
        count = 0
        for pid in self.pids():
            for link in os.scandir(f"/proc/{pid}/fd"):
                try:
                    count += not kind or os.readlink(link.path).startswith(kind)
                except FileNotFoundError:
                    continue
        return count

    def connections_to(self, port):
        """Established connections to a port of an IPv4 address."""
        mine = {os.readlink(link.path) for pid in self.pids() for link in os.scandir(f"/proc/{pid}/fd")}
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" and f"socket:[{row[9]}]" in mine for row in rows)

    def alive(self):
        """Whether the program itself still runs."""
        return self.popen.poll() is None


class Rig:
    """A temporary folder and the programs started in it; leaving the `with` block removes all of them."""

    def __enter__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="generatio-"))
        self.started = []
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(143))
        return self

    def __exit__(self, *_):
        for process in self.started:
            if process.alive():
                os.killpg(process.popen.pid, signal.SIGTERM)
        for process in self.started:
            try:
                process.popen.wait(timeout=3)
            except subprocess.TimeoutExpired:
                os.killpg(process.popen.pid, signal.SIGKILL)
                process.popen.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def start(self, name, argv, port, env=None, path="/api/health"):
        """Starts a program and returns once it answers `path` with 200."""
        log = self.dir / f"{name}.log"
        with log.open("wb") as out:
            popen = subprocess.Popen(
                [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.dir,
                env={**os.environ, "TMPDIR": str(self.dir), **(env or {})}, start_new_session=True)
        process = Process(name, popen, port, log)
        self.started.append(process)
        deadline = time.monotonic() + 20
        while not answers(port, path):
            if not process.alive() or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        return process

    def cpu_seconds(self):
        """Of everything that runs here, and of the programs that this script itself has run and waited for."""
        mine = os.times()
        return mine.user + mine.system + mine.children_user + mine.children_system + sum(process.cpu_seconds() for process in self.started)

    def sidecar(self, binary, upstream, name="generatio", flags=()):
        """The sidecar in front of 127.0.0.1:upstream, as `generatio serve` runs it by default, but for these flags."""
        port = free_port()
        argv = [binary, "serve", "--listen", f"127.0.0.1:{port}", "--metrics-listen", "127.0.0.1:0", "--pocketbase-url", f"http://127.0.0.1:{upstream}", *flags]
        return self.start(name, argv, port)

    def pocketbase(self, store=False):
        """A real PocketBase with a superuser, serving `self.public`, without its request log; empty, or with our migrations and hooks."""
        binary, port, data = pocketbase_binary(), free_port(), self.dir / "pb"
        self.public = data / "public"
        migrations, hooks = (ROOT / "pb_migrations", ROOT / "pb_hooks") if store else (data / "migrations", data / "hooks")
        folders = [f"--dir={data}/data", f"--migrationsDir={migrations}", f"--hooksDir={hooks}", "--hooksWatch=false", "--automigrate=false"]
        self.public.mkdir(parents=True)
        subprocess.run([binary, "superuser", "upsert", *SUPERUSER, *folders], check=True, stdout=subprocess.DEVNULL)
        process = self.start("pocketbase", [binary, "serve", f"--http=127.0.0.1:{port}", f"--publicDir={self.public}", *folders], port)
        process.data = data / "data"
        process.token = ask(port, "POST", "/api/collections/_superusers/auth-with-password",
                            {"identity": SUPERUSER[0], "password": SUPERUSER[1]})["token"]
        ask(port, "PATCH", "/api/settings", {"logs": {"maxDays": 0}}, process.token)
        return process


def answers(port, path):
    """Whether GET path is answered 200 within a second."""
    try:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        client.request("GET", path)
        return client.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def ask(port, method, path, body=None, token=None):
    """One JSON request to PocketBase's API that must succeed; returns the decoded answer."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": "application/json", **({"Authorization": token} if token else {})}
    client.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = client.getresponse()
    text = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status} {text[:500]!r}")
    return json.loads(text or b"null")


class Sampler(threading.Thread):
    """Calls `look` every so often until stopped; `seen` is the list of what it returned."""

    def __init__(self, look, interval=0.1):
        super().__init__(daemon=True)
        self.look, self.interval, self.seen, self.done = look, interval, [], threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()

    def run(self):
        while not self.done.wait(self.interval):
            self.seen.append(self.look())


def percentile(values, share):
    """The nearest-rank percentile of a non-empty list."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(head, rows):
    """A Markdown table with its columns aligned."""
    lines = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in lines) for i in range(len(head))]
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in lines]
    return "\n".join([text[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *text[1:]])
