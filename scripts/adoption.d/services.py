"""A service manager for one folder: it does with the units of docs/deploy, and PocketBase's, what systemd would do with them."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import rig

PREFIXES = ("/etc/", "/usr/local/bin/")
SHIM = """#!/bin/sh
echo "$*" >"{ask}"
read -r status <"{told}"
exit "$status"
"""


class Services:
    """Commands are lines of documentation. What they name under /etc and /usr/local/bin is under the folder instead."""

    def __init__(self, root, pocketbase):
        self.root, self.pocketbase = Path(root), pocketbase
        self.running, self.sockets = {}, {}
        for folder in ("etc/systemd/system", "usr/local/bin", "bin", "run"):
            (self.root / folder).mkdir(parents=True)
        ask, told = self.root / "run/ask", self.root / "run/told"
        os.mkfifo(ask)
        os.mkfifo(told)
        self.tool("systemctl", SHIM.format(ask=ask, told=told))
        threading.Thread(target=self.answer, args=(ask, told), daemon=True).start()

    def tool(self, name, text):
        """A program that the commands find."""
        path = self.root / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def answer(self, ask, told):
        """What `systemctl` was asked, one call at a time."""
        while True:
            words = ask.read_text().split()
            try:
                self.systemctl(words)
                status = 0
            except (KeyError, OSError, RuntimeError, SystemExit) as error:
                print(f"systemctl {' '.join(words)}: {error}")
                status = 1
            told.write_text(f"{status}\n")

    def here(self, text):
        """The same under our own folder."""
        for prefix in PREFIXES:
            text = text.replace(prefix, f"{self.root}{prefix}")
        return text

    def run(self, line):
        """One line of documentation, in the folder of PocketBase. Answers what it printed; failing ends the run."""
        path = f"{self.root}/bin:{self.root}/usr/local/bin:{os.environ['PATH']}"
        done = subprocess.run(["bash", "-euc", self.here(line)], cwd=self.root / "pocketbase", env={**os.environ, "PATH": path}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise SystemExit(f"{line}\nended with {done.returncode}:\n{done.stdout}{self.log('pocketbase')}{self.log('generatio')}")
        return done.stdout

    def systemctl(self, words):
        """Only what the documentation uses; anything else is a KeyError."""
        verb, units = words[0], [word.removesuffix(".service") for word in words[1:] if not word.startswith("-")]
        if verb == "daemon-reload":
            return
        act = {"start": self.start, "enable": self.start, "stop": self.stop, "disable": self.stop, "restart": self.restart}[verb]
        for unit in units:
            act(unit)

    def restart(self, unit):
        self.stop(unit)
        self.start(unit)

    def start(self, unit):
        """A unit that runs already is left alone."""
        if unit in self.running or unit in self.sockets:
            return
        if unit.endswith(".socket"):
            host, port = self.setting(unit, "ListenStream")[0].rsplit(":", 1)
            self.sockets[unit] = socket.create_server((host, int(port)), backlog=128)
            return
        command = self.pocketbase.command if unit == "pocketbase" else self.setting(f"{unit}.service", "ExecStart")[0].split()
        environment = {**os.environ, **self.environment(f"{unit}.service")}
        held = self.sockets.get(f"{unit}.socket")
        if held:
            command = ["sh", "-c", 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&0 </dev/null', "sh", *command]
        with (self.root / f"{unit}.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=self.root / "pocketbase", env=environment, stdin=held or subprocess.DEVNULL, stdout=log, stderr=log)
        self.running[unit] = process
        self.wait_for(unit, self.pocketbase.port if unit == "pocketbase" else held.getsockname()[1])

    def wait_for(self, unit, port):
        """Until it answers with PocketBase behind it."""
        deadline = time.monotonic() + 60
        while not rig.answers(port, "/api/health"):
            if self.running[unit].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{unit} does not answer:\n{self.log(unit)}")
            time.sleep(0.05)

    def stop(self, unit):
        """SIGTERM, and patience."""
        if unit in self.sockets:
            self.sockets.pop(unit).close()
        process = self.running.pop(unit, None)
        if process:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)

    def end(self):
        """Whatever is left."""
        for process in self.running.values():
            process.kill()
            process.wait()

    def log(self, unit):
        """The end of what it printed."""
        path = self.root / f"{unit}.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def setting(self, unit, name):
        """All values of one name, in the unit and its drop-ins."""
        folder = self.root / "etc/systemd/system"
        files = [folder / unit, *sorted((folder / f"{unit}.d").glob("*.conf"))]
        lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
        return [self.here(line.split("=", 1)[1]) for line in lines if line.startswith(f"{name}=")]

    def environment(self, unit):
        """As systemd.exec(5) says: credentials in a folder of their own, and files after single settings."""
        credentials = self.root / "run" / unit
        shutil.rmtree(credentials, ignore_errors=True)
        credentials.mkdir(mode=0o700)
        for line in self.setting(unit, "LoadCredential"):
            name, path = line.split(":", 1)
            (credentials / name).write_bytes(Path(path).read_bytes())
        found = {}
        files = [line for path in self.setting(unit, "EnvironmentFile") for line in Path(path).read_text().splitlines()]
        for line in [*self.setting(unit, "Environment"), *files]:
            if line and not line.startswith("#"):
                name, value = line.split("=", 1)
                found[name] = value.replace("%d", str(credentials))
        return found
