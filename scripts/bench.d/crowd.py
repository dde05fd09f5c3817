"""Thousands of connections of one client: silent ones that were answered once, or realtime subscriptions. Linux only."""

import http.client
import json
import re
import socket
import struct
import time

WAVE = 100  # connections opened at once: fewer than wait to be accepted anywhere
PATIENCE = 20  # seconds for any answer
TIMESTAMPS = 35  # SO_TIMESTAMPNS: the kernel notes when bytes arrive
HEALTH = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
SUBSCRIBE = b"GET /api/realtime HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


class Crowd:
    """Leaving the `with` block closes all connections."""

    def __init__(self, port):
        self.port, self.members = port, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for member in self.members:
            member.close()

    def idle(self, count):
        """Opens connections that ask once and then stay silent."""
        self.open(count, HEALTH, rb"^HTTP/1\.1 200 .*\r\n\r\n.*\}$")

    def subscribe(self, count, topic):
        """Opens realtime connections and subscribes each to a topic."""
        poster = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        for found in self.open(count, SUBSCRIBE, rb'^HTTP/1\.1 200 .*"clientId":"([^"]+)"\}\n\n'):
            body = json.dumps({"clientId": found[1].decode(), "subscriptions": [topic]})
            poster.request("POST", "/api/realtime", body, {"Content-Type": "application/json"})
            answer = poster.getresponse()
            answer.read()
            if answer.status != 204:
                raise SystemExit(f"a subscription at port {self.port} was answered {answer.status}")
        poster.close()

    def open(self, count, request, pattern):
        """Opens connections in waves; what each was answered, matched with the pattern."""
        answers = []
        while len(answers) < count:
            wave = [socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) for _ in range(min(WAVE, count - len(answers)))]
            self.members += wave
            for member in wave:
                member.setsockopt(socket.SOL_SOCKET, TIMESTAMPS, 1)
                member.sendall(request)
            answers += [receive(member, re.compile(pattern, re.DOTALL))[0] for member in wave]
        return answers

    def delays(self, since, text):
        """Milliseconds from a moment (of time.time_ns) until `text` had arrived, for each. Reading may come later: the kernel noted the time."""
        return [(receive(member, re.compile(re.escape(text)))[1] - since) / 1e6 for member in self.members]


def receive(member, pattern):
    """Reads until the pattern is found; the match, and the time in nanoseconds at which the last bytes of it arrived."""
    got, deadline = b"", time.monotonic() + PATIENCE
    while not (found := pattern.search(got)):
        more, notes, _, _ = member.recvmsg(65536, 64)
        if not more or time.monotonic() > deadline:
            raise SystemExit(f"a connection {'ended' if not more else 'waited in vain'} after {got[-500:]!r}")
        got += more
    seconds, nanoseconds = next((struct.unpack("ll", data) for level, kind, data in notes if (level, kind) == (socket.SOL_SOCKET, TIMESTAMPS)), (0, 0))
    return found, seconds * 1_000_000_000 + nanoseconds
