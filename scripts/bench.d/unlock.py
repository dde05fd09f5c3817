"""`scripts/bench unlock`: what a flood of unlock attempts does to requests that are only passed on.

50 users, each with an address of their own, call create-session up to ten times a second, with the right password: a wrong one would soon
be refused before it costs anything. Patient ones wait for as long as a refusal tells them to (Retry-After), as front ends do; the others
try on. Beside them one client asks PocketBase for its health, 200 times a second. Quiet turns, turns beside a busy core that has nothing to do
with us, and turns with patient and with impatient clients alternate.
"""

import argparse
import hashlib
import http.client
import json
import multiprocessing
import os
import threading
import time
from collections import Counter
from statistics import median

import rig

CLIENTS, PACE, PROBE_PACE = 50, 0.1, 0.005
CREATE = "/api/custom/auth/create-session"
USERS = "/api/collections/generatio_users"
PASSWORD = "bench-only-password"
KINDS = ["quiet", "beside a busy core", "patient", "impatient"]


def main(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench unlock", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rotations", type=int, default=5, help="quiet and flooded turns, of each (default 5)")
    parser.add_argument("--seconds", type=float, default=10, help="length of one turn (default 10)")
    options = parser.parse_args(arguments)
    binary = rig.sidecar_binary()
    with rig.Rig() as bench:
        pocketbase = bench.pocketbase(store=True)
        port = bench.sidecar(binary, pocketbase.port, flags=["--trusted-proxies", "127.0.0.1", "--pocketbase-email", rig.SUPERUSER[0], "--pocketbase-password",
                             rig.SUPERUSER[1], "--fal-api-url", "http://127.0.0.1:1", "--fal-rest-url", "http://127.0.0.1:1", *rig.UNHURRIED]).port
        wait_until_ready(port)
        tokens = [user(port, number) for number in range(CLIENTS)]
        probe(port, 1)
        turns, answers = {kind: [] for kind in KINDS}, {"patient": Counter(), "impatient": Counter()}
        for _ in range(options.rotations):
            turns["quiet"].append(probe(port, options.seconds))
            with BusyCore():
                turns["beside a busy core"].append(probe(port, options.seconds))
            for kind in answers:
                with Flood(port, tokens, kind == "patient") as flood:
                    turns[kind].append(probe(port, options.seconds))
                answers[kind] += flood.answers
    report(turns, answers, options)


def wait_until_ready(port):
    """Until the sidecar has looked at PocketBase: before, its own endpoints answer 503."""
    token = "e30.eyJjb2xsZWN0aW9uSWQiOiJwYmNfMCIsImV4cCI6OTk5OTk5OTk5OSwiaWQiOiJhYmNkZWZnaGlqMDEyMzQiLCJ0eXBlIjoiYXV0aCJ9.c2ln"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        client.request("GET", "/api/custom/auth/token-status", headers={"Authorization": token})
        if client.getresponse().status == 401:
            return
        time.sleep(0.1)
    raise SystemExit("the sidecar did not become ready")


def user(port, number):
    """The token of a user with a key."""
    email = f"user{number}@example.com"
    rig.ask(port, "POST", f"{USERS}/records", {"email": email, "password": PASSWORD, "passwordConfirm": PASSWORD})
    token = rig.ask(port, "POST", f"{USERS}/auth-with-password", {"identity": email, "password": PASSWORD})["token"]
    rig.ask(port, "POST", "/api/custom/tokens/setup", {"fal_token": f"bench-{number}:secret", "password": PASSWORD}, token)
    return token


def probe(port, seconds):
    """Milliseconds of each of the requests that one client makes at its pace; one that is late does not wait for the next."""
    client, took = http.client.HTTPConnection("127.0.0.1", port, timeout=30), []
    start = next_at = time.perf_counter()
    while next_at < start + seconds:
        time.sleep(max(0, next_at - time.perf_counter()))
        began = time.perf_counter()
        client.request("GET", "/api/health")
        answer = client.getresponse()
        answer.read()
        took.append((time.perf_counter() - began) * 1e3)
        if answer.status != 200:
            raise SystemExit(f"GET /api/health was answered {answer.status}")
        next_at = max(next_at + PROBE_PACE, time.perf_counter())
    return took


class BusyCore:
    """Somebody else's program, of the priority that makes way for everybody, keeps one core busy: what any use of a core costs here."""

    def __enter__(self):
        self.process = multiprocessing.Process(target=burn, daemon=True)
        self.process.start()

    def __exit__(self, *_):
        self.process.kill()
        self.process.join()


def burn():
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 10_000)


class Flood:
    """Clients in a process of their own; `answers` counts their statuses."""

    def __init__(self, port, tokens, patient):
        self.stop, self.queue = multiprocessing.Event(), multiprocessing.Queue()
        self.process = multiprocessing.Process(target=flood, args=(port, tokens, patient, self.stop, self.queue), daemon=True)

    def __enter__(self):
        self.process.start()
        self.queue.get(timeout=30)  # every client has been answered once
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.answers = self.queue.get(timeout=60)
        self.process.join()


def flood(port, tokens, patient, stop, queue):
    answers, ready = Counter(), threading.Barrier(len(tokens) + 1)
    clients = [threading.Thread(target=attempt, args=(port, number, token, patient, stop, answers, ready))
               for number, token in enumerate(tokens)]
    for client in clients:
        client.start()
    ready.wait()
    queue.put("begun")
    for client in clients:
        client.join()
    queue.put(answers)


def attempt(port, number, token, patient, stop, answers, ready):
    headers = {"Authorization": token, "Content-Type": "application/json", "X-Forwarded-For": f"192.0.2.{number + 1}"}
    client, answered = http.client.HTTPConnection("127.0.0.1", port, timeout=60), False
    while not stop.is_set():
        client.request("POST", CREATE, json.dumps({"password": PASSWORD}), headers)
        answer = client.getresponse()
        answer.read()
        answers[answer.status] += 1
        if not answered:
            answered = True
            ready.wait()
        stop.wait(max(PACE, int(answer.headers["Retry-After"] or 0) if patient else 0))


def report(turns, answers, options):
    rows = []
    for kind in KINDS:
        rows.append([kind, sum(map(len, turns[kind])), *(f"{median(rig.percentile(turn, share) for turn in turns[kind]):.2f}" for share in (0.5, 0.99))])
    print(f"{CLIENTS} clients unlock; {options.rotations} turns of {options.seconds:g} s of each kind; medians over turns.\n")
    print(rig.table(["pass-through", "requests", "p50 ms", "p99 ms"], rows))
    print()
    for kind in KINDS[1:]:
        ratios = [rig.percentile(one, 0.99) / rig.percentile(quiet, 0.99) for one, quiet in zip(turns[kind], turns["quiet"])]
        print(f"p99 {kind} / quiet: {median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    for kind, counted in answers.items():
        print(f"unlocks of {kind} clients by status: {dict(counted)}")
