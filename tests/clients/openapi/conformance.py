"""Starts PocketBase with our store and the sidecar, signs a user up, and has schemathesis ask every route."""

import collections
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


def ask(url, body=None, token=None, session=None):
    headers = {"Content-Type": "application/json"} | ({"Authorization": token} if token else {}) | ({"X-Session-ID": session} if session else {})
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
    """Things that are there, for a second round in which nothing is deleted. Answers the flags and the variables that name them."""
    superuser = ask(f"{pocketbase}/api/collections/_superusers/auth-with-password", {"identity": email, "password": password})["token"]
    user = ask(f"{url}/api/collections/generatio_users/auth-refresh", {}, token)["record"]["id"]
    row = lambda table, body: ask(f"{pocketbase}/api/collections/{table}/records", body | {"user_id": user}, superuser)["id"]
    folder = row("folders", {"name": "folder"})
    ask(f"{url}/api/custom/tokens/setup", {"fal_token": "0123456789:abcdef", "password": "12345678"}, token)
    session = ask(f"{url}/api/custom/auth/create-session", {"password": "12345678"}, token)["session_id"]
    wish = {"model": "flux/schnell", "prompt": "a cat", "collection_id": folder}
    made = ask(f"{url}/api/custom/generate/image", wish, token, session)
    row("generations", {"status": "failed", "model": "flux/schnell", "prompt": "a cat", "error": {"error": "external_error", "message": "no"}})
    lines = [f'[[operations]]\ninclude-path-regex = "/{table}/[{{]id"\nparameters = {{ "path.id" = "{id}" }}\n'
             for table, id in [("collections", folder), ("images", made["images"][0]["id"]), ("jobs", made["job_id"])]]
    config = pathlib.Path(home, "schemathesis.toml")
    config.write_text("".join(lines))
    flags = ["--header", f"X-Session-ID: {session}", "--exclude-method", "DELETE", "--exclude-path-regex", "/tokens/|/auth/"]
    variables = {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "CONFORMANCE_URL": url, "CONFORMANCE_TOKEN": token,
                 "CONFORMANCE_SESSION": session, "CONFORMANCE_FOLDER": folder}
    return ["--config-file", str(config)], flags, variables


def schemathesis(url, home, token, examples, settled=((), (), {})):
    before, flags, variables = settled
    program = str(pathlib.Path(sys.executable).parent / "schemathesis")
    run = ["run", f"{url}/api/custom/openapi.json", "--header", f"Authorization: {token}", "--checks", CHECKS, "--max-examples", str(examples),
           "--seed", "7", "--phases", "coverage,fuzzing", "--request-timeout", "20"]
    return subprocess.run([program, *before, *run, *flags], cwd=home, env={**os.environ, **variables}).returncode != 0


def statuses(pocketbase, email, password):
    """How many jobs of each state the rounds have left."""
    superuser = ask(f"{pocketbase}/api/collections/_superusers/auth-with-password", {"identity": email, "password": password})["token"]
    rows = ask(f"{pocketbase}/api/collections/generations/records?perPage=1000&fields=status", token=superuser)["items"]
    return collections.Counter(row["status"] for row in rows)


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
    fal = f"http://127.0.0.1:{(port := free_port())}"
    processes.append(subprocess.Popen([os.environ["GENERATIO_BIN"], "fal-sim", "--listen", f"127.0.0.1:{port}", "--concurrency", "1000", "--balance", "100000",
                                       "--queue-delay", "10ms", "--run-time", "20ms"], **quiet))
    until(lambda: ask(f"{fal}/_sim/clock"))
    log = open(f"{home}/log", "w+")
    processes.append(subprocess.Popen(
        [os.environ["GENERATIO_BIN"], "serve", "--listen", f"127.0.0.1:{outer}", "--metrics-listen", "off", "--pocketbase-url", f"http://127.0.0.1:{inner}",
         "--pocketbase-email", email, "--pocketbase-password", password, "--kdf-iterations", "100000", "--jobs-per-minute", "off",
         "--logins-per-minute-per-address", "off", "--unlocks-per-minute-per-address", "off", "--unlocks-per-minute-per-user", "off",
         "--fal-queue-url", f"{fal}/queue", "--fal-rest-url", f"{fal}/rest", "--fal-api-url", f"{fal}/api", "--fal-media-hosts", "127.0.0.1"],
        stdout=log, stderr=log))
    url = f"http://127.0.0.1:{outer}"
    until(lambda: ask(f"{url}/api/health"))
    ask(f"{url}/api/collections/generatio_users/records", {"email": "ann@example.com", "password": "12345678", "passwordConfirm": "12345678"})
    token = ask(f"{url}/api/collections/generatio_users/auth-with-password", {"identity": "ann@example.com", "password": "12345678"})["token"]
    until(lambda: ask(f"{url}/api/custom/collections", token=token))
    found = schemathesis(url, home, token, examples)
    pocketbase = f"http://127.0.0.1:{inner}"
    found |= schemathesis(url, home, token, examples, settled(url, home, token, pocketbase, email, password))
    jobs = statuses(pocketbase, email, password)
    print("jobs afterwards:", dict(jobs))
    found |= not {"completed", "cancelled"} <= set(jobs)
    log.seek(0)
    faults = [line for line in log if "panicked" in line or "the store failed" in line]
    print("".join(faults[:20]))
    return found or bool(faults)


sys.exit(main(int(sys.argv[1])))
