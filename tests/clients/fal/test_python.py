"""FAL's official Python client, unmodified, against the simulator over HTTPS."""

import hashlib
import json
import os
import re
import subprocess
import tempfile
import threading
import unittest
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

# The client reads its hosts once, when it is imported: the simulator must be there first.
HOME = tempfile.TemporaryDirectory()
AUTHORITY = os.path.join(HOME.name, "authority.pem")
SIMULATOR = subprocess.Popen(
    [os.environ["GENERATIO_BIN"], "fal-sim", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"]
    + ["--tls-ca-file", AUTHORITY, "--queue-delay", "50ms"],
    stdout=subprocess.PIPE,
    text=True,
)


def said(pattern):
    for line in SIMULATOR.stdout:
        if match := re.search(pattern, line):
            return match[1]
    raise RuntimeError("the simulator ended before it said where it listens")


PLAIN = said(r"listening on (http:\S+)")
SECURE = said(r"listening on https://(\S+)")
threading.Thread(target=SIMULATOR.stdout.read, daemon=True).start()
os.environ["FAL_RUN_HOST"] = f"{SECURE}/run"
os.environ["FAL_QUEUE_RUN_HOST"] = f"{SECURE}/queue"
os.environ["SSL_CERT_FILE"] = AUTHORITY

import fal_client  # noqa: E402
import fal_client.client  # noqa: E402

# These two addresses are module globals and nothing else.
fal_client.client.REST_URL = f"https://{SECURE}/rest"
fal_client.client.CDN_URL = f"https://{SECURE}/media"

SCHNELL = "fal-ai/flux/schnell"


def tearDownModule():
    SIMULATOR.terminate()
    SIMULATOR.wait()
    HOME.cleanup()


def client(name):
    return fal_client.SyncClient(key=f"{name}:secret")


def sim(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{PLAIN}/_sim/{path}", data)) as response:
        return json.load(response)


def fetched(url):
    """The bytes and headers of an address at the simulator, over its own certificate."""
    import ssl

    context = ssl.create_default_context(cafile=AUTHORITY)
    with urllib.request.urlopen(url, context=context) as response:
        return response.read(), response.headers


class Queue(unittest.TestCase):
    def test_a_submit_is_followed_to_its_result_and_billed_once(self):
        fal = client("py-once")
        handle = fal.submit(SCHNELL, {"prompt": "a cat on a mat", "seed": 2**63 + 1})
        states = []
        for event in handle.iter_events(with_logs=True, interval=0.02):
            states.append(type(event).__name__)
        self.assertEqual(list(dict.fromkeys(states)), ["Queued", "InProgress", "Completed"])
        self.assertTrue(event.logs)
        self.assertGreater(event.metrics["inference_time"], 0)
        result = handle.get()
        self.assertEqual(result["seed"], 2**63 + 1)
        picture, headers = fetched(result["images"][0]["url"])
        self.assertEqual((picture[:2], headers["content-type"]), (b"\xff\xd8", "image/jpeg"))
        account = next(account for account in sim("accounts")["accounts"] if account["key_id"] == "py-once")
        self.assertEqual([charge["cost_total"] for charge in account["charges"]], [0.003])

    def test_subscribe_reports_updates_and_logs(self):
        seen = []
        result = client("py-subscribe").subscribe(
            SCHNELL, {"prompt": "a lighthouse"}, with_logs=True, on_queue_update=seen.append
        )
        self.assertEqual(len(result["images"]), 1)
        self.assertIsInstance(seen[-1], fal_client.Completed)
        self.assertTrue(any(getattr(update, "logs", None) for update in seen))

    def test_status_and_result_are_found_again_by_request_id_alone(self):
        fal = client("py-again")
        handle = fal.submit(SCHNELL, {"prompt": "again"})
        handle.get()
        self.assertIsInstance(fal.status(SCHNELL, handle.request_id), fal_client.Completed)
        self.assertEqual(fal.result(SCHNELL, handle.request_id)["prompt"], "again")

    def test_a_waiting_request_says_its_position(self):
        fal = client("py-position")
        handles = [fal.submit("fal-ai/hidream-i1-dev", {"prompt": "wait", "seed": n}) for n in range(4)]
        self.assertEqual(handles[3].status(), fal_client.Queued(position=handles[3].status().position))
        self.assertGreaterEqual(handles[3].status().position, 1)

    def test_cancel_ends_a_request(self):
        fal = client("py-cancel")
        handle = fal.submit(SCHNELL, {"prompt": "no [[sim:stuck_progress]]"})
        handle.cancel()
        status = handle.status()
        self.assertIsInstance(status, fal_client.Completed)
        self.assertEqual(status.error_type, "client_cancelled")

    def test_a_webhook_is_delivered_and_its_signature_verifies(self):
        received = []
        done = threading.Event()

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self):
                received.append((dict(self.headers.items()), self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.end_headers()
                done.set()

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        target = f"http://127.0.0.1:{server.server_address[1]}/hook"
        client("py-webhook").submit(SCHNELL, {"prompt": "tell me"}, webhook_url=target)
        self.assertTrue(done.wait(10))
        server.shutdown()
        server.server_close()
        headers, body = received[0]
        headers = {name.lower(): value for name, value in headers.items()}
        names = ["request-id", "user-id", "timestamp"]
        lines = [headers[f"x-fal-webhook-{name}"] for name in names] + [hashlib.sha256(body).hexdigest()]
        verify("\n".join(lines).encode(), bytes.fromhex(headers["x-fal-webhook-signature"]))
        self.assertEqual(json.loads(body)["status"], "OK")


def verify(message, signature):
    """Against every key of the published set; raises if none fits."""
    import base64

    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    keys, _ = fetched(f"https://{SECURE}/rest/.well-known/jwks.json")
    for key in json.loads(keys)["keys"]:
        try:
            raw = base64.urlsafe_b64decode(key["x"] + "==")
            return Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
        except InvalidSignature:
            continue
    raise AssertionError("no published key fits the signature")


class Run(unittest.TestCase):
    def test_run_answers_on_the_same_connection(self):
        result = client("py-run").run(SCHNELL, {"prompt": "ramen", "num_images": 2})
        self.assertEqual(len(result["images"]), 2)

    def test_stream_ends_with_the_output(self):
        events = list(client("py-stream").stream(SCHNELL, {"prompt": "a fox"}))
        self.assertGreaterEqual(len(events), 2)
        self.assertEqual(len(events[-1]["images"]), 1)


class Storage(unittest.TestCase):
    def test_an_upload_is_found_at_its_public_address(self):
        url = client("py-upload").upload(b"hello", "text/plain", file_name="hello.txt")
        body, headers = fetched(url)
        self.assertEqual((body, headers["content-type"]), (b"hello", "text/plain"))

    def test_a_file_of_more_than_a_hundred_megabytes_comes_in_parts(self):
        size = 100 * 1024 * 1024 + 17
        with tempfile.NamedTemporaryFile(dir=HOME.name, suffix=".bin") as file:
            file.truncate(size)
            url = client("py-parts").upload_file(file.name)
        body, _ = fetched(url)
        self.assertEqual(len(body), size)


class Failures(unittest.TestCase):
    def refused(self, call, status):
        with self.assertRaises(fal_client.FalClientHTTPError) as caught:
            call()
        self.assertEqual(caught.exception.status_code, status)
        return caught.exception

    def test_refusals_at_submit_carry_their_status_and_words(self):
        for key, status, words in [
            ("bad", 401, "invalid key credentials"),
            ("locked", 403, "User is locked. Reason: Admin lock"),
            ("empty", 403, "User is locked. Reason: Exhausted balance"),
            ("scope", 403, "Access denied"),
        ]:
            with self.subTest(key):
                error = self.refused(lambda: client(key).submit(SCHNELL, {"prompt": "x"}), status)
                self.assertIn(words, str(error))

    def test_an_unknown_app_is_refused_at_submit(self):
        error = self.refused(lambda: client("py").submit("fal-ai/nosuchapp", {"prompt": "x"}), 404)
        self.assertIn("nosuchapp", str(error))

    def test_failures_of_the_work_come_with_the_result(self):
        for prompt, status in [
            ("x [[sim:422:content_policy_violation]]", 422),
            ("x [[sim:422:internal_server_error]]", 500),
            ("x [[sim:fail:runner_disconnected]]", 503),
        ]:
            with self.subTest(prompt):
                handle = client("py-failures").submit(SCHNELL, {"prompt": prompt})
                self.refused(handle.get, status)
                self.assertTrue(handle.status().error)

    def test_a_wrong_parameter_fails_a_direct_run_at_once(self):
        error = self.refused(lambda: client("py").run(SCHNELL, {"prompt": "x", "num_images": 9}), 422)
        self.assertIn("less_than_equal", error.response.text)

    def test_a_missed_start_deadline_is_the_users_own_time_out(self):
        handle = client("py-late").submit(SCHNELL, {"prompt": "late [[sim:start_timeout]]"}, start_timeout=5)
        with self.assertRaises(fal_client.FalClientHTTPError) as caught:
            handle.get()
        self.assertEqual(caught.exception.status_code, 504)
