"""Starts `generatio dev`, has scripts/demo make a picture, and reads the metrics with the parsers of Prometheus' Python client."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic

ROOT = pathlib.Path(__file__).resolve().parents[3]
TYPES = {"classic": "text/plain; version=0.0.4; charset=utf-8", "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def scrape(url, accept):
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=20) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def ask(url):
    """For the count of it: whatever the answer is."""
    try:
        urllib.request.urlopen(url, timeout=20).read()
    except urllib.error.HTTPError:
        pass


def wait(url):
    deadline = time.monotonic() + 60
    while True:
        try:
            return urllib.request.urlopen(url, timeout=20).read()
        except (OSError, urllib.error.URLError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def series(families):
    """Every series that is not of the kind that moves by itself between two scrapes."""
    samples = [sample for family in families for sample in family.samples if not re.match("process_|generatio_worker_lag", sample.name)]
    # The formats spell bounds differently: 1 and 1.0.
    value = lambda name, text: float(text) if name == "le" else text
    keys = [(sample.name, *sorted((name, value(name, text)) for name, text in sample.labels.items())) for sample in samples]
    assert len(keys) == len(set(keys)), "a series is there twice"
    return set(keys)


def check(metrics, origin):
    for path in ("/api/health", "/_/", "/api/custom/status", "/api/custom/no-such-route"):
        ask(origin + path)
    kind, text = scrape(metrics, "*/*")
    assert kind == TYPES["classic"], kind
    there = list(classic(text))
    kind, text = scrape(metrics, "application/openmetrics-text; version=1.0.0")
    assert kind == TYPES["openmetrics"], kind
    strict = list(openmetrics(text))
    assert series(there) == series(strict), series(there) ^ series(strict)
    assert all(family.documentation and family.type != "unknown" for family in [*there, *strict])
    settled = [sample for family in strict for sample in family.samples if sample.name == "generatio_settlements_total"]
    assert [(sample.labels["status"], sample.value) for sample in settled] == [("completed", 1.0)], settled
    return len(series(strict))


def main():
    origin = f"http://127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory() as home:
        command = [os.environ["GENERATIO_BIN"], "dev", "--data", home, "--listen", origin[7:], "--pocketbase-url", f"http://127.0.0.1:{free_port()}",
                   "--fal-sim-listen", f"127.0.0.1:{free_port()}"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as dev:
            try:
                metrics = None
                for line in dev.stdout:
                    if found := re.search(r"metrics +(http\S+)", line):
                        metrics = found[1]
                    if "try it" in line:
                        break
                wait(metrics.replace("/metrics", "/readyz"))
                subprocess.run([ROOT / "scripts/demo", origin], check=True, stdout=subprocess.DEVNULL)
                print(f"{check(metrics, origin)} series, the same in both formats")
            finally:
                dev.send_signal(signal.SIGTERM)
                dev.stdout.read()


sys.exit(main())
