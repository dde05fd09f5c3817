// FAL's official JavaScript client, unmodified, against the simulator.

import assert from "node:assert/strict";
import { createHash, createPublicKey, verify } from "node:crypto";
import { createServer } from "node:http";
import { after, before, describe, it } from "node:test";
import { eventually, falClient, sim, startSimulator } from "./simulator.js";

const schnell = "fal-ai/flux/schnell";
let simulator;

before(async () => {
  simulator = await startSimulator();
});
after(() => simulator.stop());

async function ends(fal, requestId) {
  await fal.queue.subscribeToStatus(schnell, { requestId, pollInterval: 20 });
}

describe("the queue", () => {
  it("takes a submit, says its status, gives its result and bills it once", async () => {
    const fal = falClient(simulator, "js-once:secret");
    const queued = await fal.queue.submit(schnell, { input: { prompt: "a cat on a mat", seed: 7 } });
    assert.equal(queued.status, "IN_QUEUE");
    assert.equal(queued.queue_position, 0);
    assert.match(queued.status_url, /\/queue\/fal-ai\/flux\/requests\/[0-9a-f-]{36}\/status$/);

    await ends(fal, queued.request_id);
    const status = await fal.queue.status(schnell, { requestId: queued.request_id, logs: true });
    assert.equal(status.status, "COMPLETED");
    assert.ok(status.logs.length > 0);
    assert.equal(status.logs[0].source, "USER");
    assert.ok(status.metrics.inference_time > 0);

    const { data, requestId } = await fal.queue.result(schnell, { requestId: queued.request_id });
    assert.equal(requestId, queued.request_id);
    assert.equal(data.seed, 7);
    assert.deepEqual([data.images[0].width, data.images[0].height], [1024, 768]);
    const picture = await fetch(data.images[0].url);
    assert.equal(picture.headers.get("content-type"), "image/jpeg");
    assert.deepEqual(new Uint8Array(await picture.arrayBuffer()).slice(0, 2), new Uint8Array([0xff, 0xd8]));

    const { accounts } = await sim(simulator, "accounts");
    const account = accounts.find((other) => other.key_id === "js-once");
    assert.equal(account.charges.length, 1);
    assert.equal(account.charges[0].cost_total, 0.003);
  });

  it("lets subscribe follow with queue updates and logs", async () => {
    const fal = falClient(simulator, "js-subscribe:secret");
    const seen = [];
    let enqueued;
    const { data, requestId } = await fal.subscribe(schnell, {
      input: { prompt: "a lighthouse" },
      logs: true,
      pollInterval: 20,
      onEnqueue: (id) => (enqueued = id),
      onQueueUpdate: (update) => seen.push(update),
    });
    assert.equal(enqueued, requestId);
    assert.equal(data.images.length, 1);
    const states = [...new Set(seen.map((update) => update.status))];
    assert.deepEqual(states, ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]);
    assert.ok(seen.some((update) => update.status === "IN_PROGRESS" && update.logs.length > 0));
  });

  it("lets subscribe follow the stream of status events", async () => {
    const fal = falClient(simulator, "js-stream:secret");
    const seen = [];
    const { data } = await fal.subscribe(schnell, {
      input: { prompt: "a paper boat" },
      mode: "streaming",
      onQueueUpdate: (update) => seen.push(update.status),
    });
    assert.equal(data.images.length, 1);
    assert.deepEqual([...new Set(seen)], ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]);
  });

  it("cancels what has not ended, and says ALREADY_COMPLETED after that", async () => {
    const fal = falClient(simulator, "js-cancel:secret");
    const { request_id: requestId } = await fal.queue.submit(schnell, {
      input: { prompt: "never to be seen [[sim:stuck_progress]]" },
    });
    await fal.queue.cancel(schnell, { requestId });
    const status = await fal.queue.status(schnell, { requestId });
    assert.equal(status.status, "COMPLETED");
    assert.equal(status.error_type, "client_cancelled");
    await assert.rejects(fal.queue.result(schnell, { requestId }), { status: 499 });
    await assert.rejects(fal.queue.cancel(schnell, { requestId }), (error) => {
      assert.equal(error.status, 400);
      assert.deepEqual(error.body, { status: "ALREADY_COMPLETED" });
      return true;
    });
  });

  it("shows a request only to the key that made it", async () => {
    const mine = falClient(simulator, "js-mine:secret");
    const theirs = falClient(simulator, "js-theirs:secret");
    const { request_id: requestId } = await mine.queue.submit(schnell, { input: { prompt: "mine" } });
    await assert.rejects(theirs.queue.status(schnell, { requestId }), { status: 404 });
  });

  it("ends a request that did not start in time with the user's own time-out", async () => {
    const fal = falClient(simulator, "js-late:secret");
    const { request_id: requestId } = await fal.queue.submit(schnell, {
      input: { prompt: "too late [[sim:stuck_queue]]" },
      startTimeout: 2,
    });
    await sim(simulator, "clock", { seconds: 2 });
    const status = await fal.queue.status(schnell, { requestId });
    assert.equal(status.error_type, "request_timeout");
    await assert.rejects(fal.queue.result(schnell, { requestId }), (error) => {
      assert.equal(error.status, 504);
      assert.ok(error.isUserTimeout);
      return true;
    });
  });

  it("resubmits as the client does: a connection cut after acceptance becomes several billed jobs", async () => {
    const fal = falClient(simulator, "js-twice:secret");
    const prompt = "twice [[sim:drop_after_accept:1]]";
    const { request_id: requestId } = await fal.queue.submit(schnell, { input: { prompt } });
    await ends(fal, requestId);
    const { submits } = await sim(simulator, `submits?prompt=${encodeURIComponent(prompt)}`);
    assert.deepEqual([submits[0].posts, submits[0].accepted], [2, 2]);
  });
});

describe("direct runs", () => {
  it("answers on the same connection", async () => {
    const { data, requestId } = await falClient(simulator, "js-run:secret").run(schnell, {
      input: { prompt: "a bowl of ramen", num_images: 2, image_size: "square", output_format: "png" },
    });
    assert.match(requestId, /^[0-9a-f-]{36}$/);
    assert.equal(data.images.length, 2);
    assert.equal(data.images[0].content_type, "image/png");
  });

  it("streams events whose last is the output", async () => {
    const stream = await falClient(simulator, "js-run-stream:secret").stream(schnell, { input: { prompt: "a fox" } });
    let events = 0;
    for await (const _ of stream) events += 1;
    const output = await stream.done();
    assert.ok(events >= 2);
    assert.equal(output.images.length, 1);
  });

  it("refuses a third run at once, with the header that says to try again", async () => {
    const fal = falClient(simulator, "js-width:secret");
    const runs = [1, 2].map((seed) => fal.run("fal-ai/hidream-i1-dev", { input: { prompt: "busy", seed } }));
    await eventually(async () => {
      const { accounts } = await sim(simulator, "accounts");
      return accounts.find((account) => account.key_id === "js-width")?.requests === 2;
    });
    const third = await fetch(`${simulator.url}/run/${schnell}`, {
      method: "POST",
      headers: { authorization: "Key js-width:secret" },
      body: JSON.stringify({ prompt: "one too many" }),
    });
    assert.equal(third.status, 429);
    assert.equal(third.headers.get("x-fal-needs-retry"), "1");
    assert.equal((await third.json()).error_type, "concurrent_requests_limit");
    await sim(simulator, "clock", { seconds: 10 });
    assert.equal((await Promise.all(runs)).length, 2);
  });
});

describe("storage", () => {
  it("takes an upload and gives it back from its public address", async () => {
    const fal = falClient(simulator, "js-upload:secret");
    const url = await fal.storage.upload(new File(["hello"], "héllo wörld.txt", { type: "text/plain" }));
    const file = await fetch(url);
    assert.equal(await file.text(), "hello");
    assert.equal(file.headers.get("content-type"), "text/plain");
    assert.equal(file.headers.get("access-control-allow-origin"), "*");
  });

  it("takes a file of more than ninety megabytes in parts", async () => {
    const fal = falClient(simulator, "js-parts:secret");
    const size = 90 * 1024 * 1024 + 17;
    const url = await fal.storage.upload(new File([Buffer.alloc(size, 7)], "large.bin"));
    const head = await fetch(url, { method: "HEAD" });
    assert.equal(Number(head.headers.get("content-length")), size);
    const tail = await fetch(url, { headers: { range: "bytes=-17" } });
    assert.equal(tail.status, 206);
    assert.deepEqual(Buffer.from(await tail.arrayBuffer()), Buffer.alloc(17, 7));
  });
});

describe("webhooks", () => {
  it("are signed with the key that the key set names", async () => {
    const received = await receiver(async (target) => {
      const fal = falClient(simulator, "js-webhook:secret");
      await fal.queue.submit(schnell, { input: { prompt: "tell me" }, webhookUrl: target });
    });
    assert.ok(await genuine(received));
    const message = JSON.parse(received.body);
    assert.equal(message.status, "OK");
    assert.equal(message.payload.images.length, 1);
    assert.equal(message.request_id, received.headers["x-fal-webhook-request-id"]);
  });

  it("do not verify when the signature is not FAL's", async () => {
    const received = await receiver(async (target) => {
      const fal = falClient(simulator, "js-forged:secret");
      await fal.queue.submit(schnell, { input: { prompt: "forged [[sim:bad_sig]]" }, webhookUrl: target });
    });
    assert.equal(await genuine(received), false);
  });

  it("carry a model's error as such", async () => {
    const received = await receiver(async (target) => {
      const fal = falClient(simulator, "js-webhook-error:secret");
      await fal.queue.submit(schnell, { input: { prompt: "no", num_images: 9 }, webhookUrl: target });
    });
    const message = JSON.parse(received.body);
    assert.equal(message.status, "ERROR");
    assert.equal(message.error, "Invalid status code: 422");
    assert.equal(message.payload.detail[0].type, "less_than_equal");
  });
});

/** The first request that arrives at a server that lives as long as `send` and that request take. */
async function receiver(send) {
  const { promise, resolve } = Promise.withResolvers?.() ?? deferred();
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    response.end();
    resolve({ headers: request.headers, body });
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  try {
    await send(`http://127.0.0.1:${server.address().port}/hook`);
    return await promise;
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

function deferred() {
  let resolve;
  const promise = new Promise((other) => (resolve = other));
  return { promise, resolve };
}

/** FAL's published verification: any key of the set, over id, user, time and hash. */
async function genuine({ headers, body }) {
  const part = (name) => headers[`x-fal-webhook-${name}`];
  if (Math.abs(Date.now() / 1000 - Number(part("timestamp"))) > 3600) return false;
  const { keys } = await (await fetch(`${simulator.url}/rest/.well-known/jwks.json`)).json();
  const hash = createHash("sha256").update(body).digest("hex");
  const message = Buffer.from([part("request-id"), part("user-id"), part("timestamp"), hash].join("\n"));
  const signature = Buffer.from(part("signature"), "hex");
  return keys.some((jwk) => verify(null, message, createPublicKey({ key: jwk, format: "jwk" }), signature));
}

describe("failures reach the client as the error objects it documents", () => {
  const refused = [
    ["a key FAL does not know", "bad:secret", { prompt: "x" }, "ApiError", 401, "invalid key credentials"],
    ["a locked account", "locked:secret", { prompt: "x" }, "ApiError", 403, /^User is locked\. Reason: Admin lock/],
    ["an empty balance", "empty:secret", { prompt: "x" }, "ApiError", 403, /^User is locked\. Reason: Exhausted balance/],
    ["a key of the wrong scope", "scope:secret", { prompt: "x" }, "ApiError", 403, "Access denied"],
  ];
  for (const [what, key, input, name, status, detail] of refused) {
    it(`at submit: ${what}`, async () => {
      await assert.rejects(falClient(simulator, key).queue.submit(schnell, { input }), (error) => {
        assert.deepEqual([error.name, error.status], [name, status]);
        assert.match(error.body.detail, detail instanceof RegExp ? detail : new RegExp(detail));
        return true;
      });
    });
  }

  it("at submit: an app that does not exist", async () => {
    await assert.rejects(falClient(simulator).queue.submit("fal-ai/nosuchapp", { input: { prompt: "x" } }), (error) => {
      assert.equal(error.status, 404);
      assert.equal(error.body.detail, 'Application "nosuchapp" not found');
      return true;
    });
  });

  const failed = [
    ["a wrong parameter", { prompt: "x", num_inference_steps: 50 }, "ValidationError", 422],
    ["a missing prompt", { seed: 1 }, "ValidationError", 422],
    ["a refusal of the content checker", { prompt: "x [[sim:422:content_policy_violation]]" }, "ValidationError", 422],
    ["an error of the model's own", { prompt: "x [[sim:422:internal_server_error]]" }, "ApiError", 500],
    ["an error of FAL's infrastructure", { prompt: "x [[sim:fail:runner_incomplete_response]]" }, "ApiError", 502],
  ];
  for (const [what, input, name, status] of failed) {
    it(`at the result: ${what}`, async () => {
      const fal = falClient(simulator, "js-failures:secret");
      const { request_id: requestId } = await fal.queue.submit(schnell, { input });
      await ends(fal, requestId);
      await assert.rejects(fal.queue.result(schnell, { requestId }), (error) => {
        assert.deepEqual([error.name, error.status, error.requestId], [name, status, requestId]);
        if (name === "ValidationError") assert.ok(error.fieldErrors[0].type);
        return true;
      });
    });
  }

  it("at once on a direct run: a wrong parameter, named", async () => {
    await assert.rejects(falClient(simulator).run(schnell, { input: { prompt: "x", num_images: 9 } }), (error) => {
      assert.equal(error.name, "ValidationError");
      const [field] = error.getFieldErrors("num_images");
      assert.deepEqual([field.type, field.ctx], ["less_than_equal", { le: 4 }]);
      return true;
    });
  });

  it("as 404 at the result: a path the app does not have", async () => {
    const fal = falClient(simulator, "js-path:secret");
    const { request_id: requestId } = await fal.queue.submit("fal-ai/flux/nosuchpath", { input: { prompt: "x" } });
    await ends(fal, requestId);
    await assert.rejects(fal.queue.result(schnell, { requestId }), { status: 404, body: { detail: "Path /nosuchpath not found" } });
  });
});
