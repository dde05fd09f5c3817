"""Starts and stops what a measurement needs. Linux only."""

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

from process import Nobody, Process

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
    subprocess.run([ROOT / "scripts/release"], check=True, stdout=sys.stderr)
    return str(ROOT / "target/release/generatio")


def pocketbase_binary():
    """What scripts/pocketbase finds or fetches."""
    return subprocess.run([ROOT / "scripts/pocketbase"], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def serve(binary, port, upstream):
    """The command that runs the sidecar at a port of 127.0.0.1 in front of another."""
    return [binary, "serve", "--listen", f"127.0.0.1:{port}", "--metrics-listen", "127.0.0.1:0", "--pocketbase-url", f"http://127.0.0.1:{upstream}"]


def free_port():
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def busy_seconds():
    """CPU time that the whole machine has spent since boot, other machines' share of its CPUs included."""
    user, nice, system, _idle, _wait, irq, softirq, stolen = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")


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
        for process in list(self.started):
            self.stop(process)
        shutil.rmtree(self.dir, ignore_errors=True)

    def stop(self, process):
        """Ends one program and what it has started, within three seconds."""
        if process.alive():
            os.killpg(process.popen.pid, signal.SIGTERM)
        try:
            process.popen.wait(timeout=3)
        except subprocess.TimeoutExpired:
            os.killpg(process.popen.pid, signal.SIGKILL)
            process.popen.wait()
        self.started.remove(process)

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
        return self.start(name, [*serve(binary, port, upstream), *flags], port)

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
