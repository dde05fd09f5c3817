"""Makes some of what schemathesis generates possible: without it no picture would ever be made, and no job be there to be cancelled."""

import json
import os
import urllib.request

import schemathesis

URL, TOKEN, SESSION, FOLDER = (os.environ[name] for name in ("CONFORMANCE_URL", "CONFORMANCE_TOKEN", "CONFORMANCE_SESSION", "CONFORMANCE_FOLDER"))
MODELS = ["flux/schnell", "hidream/hidream-i1-dev", "fal-ai/hidream-i1-fast"]
calls = {"generate": 0, "cancel": 0, "restore": 0}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Every second wish names a model, has a prompt, and goes to a folder that is there; what is cancelled runs, what is restored was deleted."""
    if case.operation.label == "POST /api/custom/generate/image" and isinstance(case.body, dict):
        calls["generate"] += 1
        if calls["generate"] % 2:
            parameters = case.body.get("parameters")
            case.body = {**case.body, "model": MODELS[calls["generate"] % 3], "prompt": f"a picture of {calls['generate']}",
                         "parameters": parameters if isinstance(parameters, dict) else {}, "collection_id": FOLDER}
            case.body.pop("folder_id", None)
    if case.operation.label == "POST /api/custom/jobs/{id}/cancel":
        calls["cancel"] += 1
        if calls["cancel"] % 2:
            case.path_parameters["id"] = running()
    if case.operation.label == "POST /api/custom/collections/{id}/restore":
        calls["restore"] += 1
        if calls["restore"] % 2:
            case.path_parameters["id"] = deleted()


def running():
    """A job that FAL never finishes."""
    return ask("POST", "generate/image", {"model": "flux/schnell", "prompt": "never [[sim:stuck_progress]]"})["id"]


def deleted():
    """A folder that can be restored."""
    folder = ask("POST", "collections/create", {"name": "to be restored"})["id"]
    ask("DELETE", f"collections/{folder}")
    return folder


def ask(method, path, body=None):
    headers = {"Content-Type": "application/json", "Authorization": TOKEN, "X-Session-ID": SESSION, "Prefer": "respond-async"}
    request = urllib.request.Request(f"{URL}/api/custom/{path}", body and json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)
