"""Starts PocketBase with our store and the sidecar, signs a user up, and has schemathesis ask every route."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url, body=None, token=None):
    headers = {"Content-Type": "application/json"} | ({"Authorization": token} if token else {})
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=20) as answer:
        return json.load(answer)


def until(condition):
    deadline = time.monotonic() + 30
    while True:
        try:
            return condition()
        except (OSError, urllib.error.URLError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def settled(url, home, token, pocketbase, email, password):
    """Things that are there, for a second round in which nothing is deleted. FAL is away, so no picture is asked for. Answers the flags that name them."""
    superuser = ask(f"{pocketbase}/api/collections/_superusers/auth-with-password", {"identity": email, "password": password})["token"]
    user = ask(f"{url}/api/collections/generatio_users/auth-refresh", {}, token)["record"]["id"]
    row = lambda table, body: ask(f"{pocketbase}/api/collections/{table}/records", body | {"user_id": user}, superuser)["id"]
    folder = row("folders", {"name": "folder"})
    image = row("images", {"prompt": "a cat", "url": "/x", "job_id": "job", "cost_micros": 3000, "folder_id": folder})
    job = row("generations", {"status": "failed", "model": "flux/schnell", "prompt": "a cat"})
    ask(f"{url}/api/custom/tokens/setup", {"fal_token": "0123456789:abcdef", "password": "12345678"}, token)
    session = ask(f"{url}/api/custom/auth/create-session", {"password": "12345678"}, token)["session_id"]
    lines = [f'[[operations]]\ninclude-path-regex = "/{table}/[{{]id"\nparameters = {{ "path.id" = "{id}" }}\n'
             for table, id in [("collections", folder), ("images", image), ("jobs", job)]]
    config = pathlib.Path(home, "schemathesis.toml")
    config.write_text("".join(lines))
    return ["--header", f"X-Session-ID: {session}", "--exclude-method", "DELETE", "--exclude-path-regex", "/tokens/|/auth/|/generate/image", "--config", str(config)]


def schemathesis(url, home, token, flags, examples):
    program = str(pathlib.Path(sys.executable).parent / "schemathesis")
    before = []
    if "--config" in flags:
        before, flags = ["--config-file", flags[-1]], flags[:-2]
    run = ["run", f"{url}/api/custom/openapi.json", "--header", f"Authorization: {token}", "--checks", CHECKS, "--max-examples", str(examples),
           "--seed", "7", "--phases", "coverage,fuzzing", "--request-timeout", "20"]
    return subprocess.run([program, *before, *run, *flags], cwd=home).returncode != 0


def main(examples):
    processes = []
    with tempfile.TemporaryDirectory() as home:
        try:
            return run(home, processes, examples)
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


def run(home, processes, examples):
    pocketbase = os.environ.get("POCKETBASE_BIN") or subprocess.check_output([ROOT / "scripts/pocketbase"], text=True).strip()
    folders = [f"--dir={home}/data", f"--migrationsDir={ROOT}/pb_migrations", f"--hooksDir={ROOT}/pb_hooks", "--hooksWatch=false", "--automigrate=false"]
    email, password = "root@example.com", "correct horse"
    subprocess.run([pocketbase, "superuser", "create", email, password, *folders], check=True, stdout=subprocess.DEVNULL)
    inner, outer = free_port(), free_port()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes.append(subprocess.Popen([pocketbase, "serve", f"--http=127.0.0.1:{inner}", *folders], **quiet))
    until(lambda: ask(f"http://127.0.0.1:{inner}/api/health"))
    nowhere = "http://127.0.0.1:1"
    log = open(f"{home}/log", "w+")
    processes.append(subprocess.Popen(
        [os.environ["GENERATIO_BIN"], "serve", "--listen", f"127.0.0.1:{outer}", "--pocketbase-url", f"http://127.0.0.1:{inner}",
         "--pocketbase-email", email, "--pocketbase-password", password, "--kdf-iterations", "100000",
         "--logins-per-minute-per-address", "off", "--logins-per-minute-per-user", "off",
         "--unlocks-per-minute-per-address", "off", "--unlocks-per-minute-per-user", "off",
         "--fal-queue-url", nowhere, "--fal-rest-url", nowhere, "--fal-api-url", nowhere], stdout=log, stderr=log))
    url = f"http://127.0.0.1:{outer}"
    until(lambda: ask(f"{url}/api/health"))
    ask(f"{url}/api/collections/generatio_users/records", {"email": "ann@example.com", "password": "12345678", "passwordConfirm": "12345678"})
    token = ask(f"{url}/api/collections/generatio_users/auth-with-password", {"identity": "ann@example.com", "password": "12345678"})["token"]
    until(lambda: ask(f"{url}/api/custom/collections", token=token))
    found = schemathesis(url, home, token, [], examples)
    found |= schemathesis(url, home, token, settled(url, home, token, f"http://127.0.0.1:{inner}", email, password), examples)
    log.seek(0)
    faults = [line for line in log if "panicked" in line or "the store failed" in line]
    print("".join(faults[:20]))
    return found or bool(faults)


sys.exit(main(int(sys.argv[1])))
