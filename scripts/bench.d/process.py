"""A running program and what it costs, read from /proc. Linux only."""

import os
from pathlib import Path


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
        return sum(seconds(Path(f"/proc/{pid}/stat")) for pid in self.pids())

    def thread_seconds(self):
        """The CPU seconds of each thread of all processes so far."""
        spent = {}
        for pid in self.pids():
            for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
                try:
                    spent[stat.parent.name] = seconds(stat)
                except (FileNotFoundError, ProcessLookupError):
                    continue  # the thread has just ended
        return spent

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


def seconds(stat):
    """User and system time in a stat file of a process or thread."""
    fields = stat.read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
