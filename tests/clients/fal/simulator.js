// Starts `generatio fal-sim` for the tests, and points FAL's own client at it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { createFalClient } from "@fal-ai/client";

const binary = process.env.GENERATIO_BIN;

/** A simulator on a free port: `{ url, stop() }`. */
export async function startSimulator(...flags) {
  if (!binary) throw new Error("GENERATIO_BIN must name the generatio binary");
  const child = spawn(binary, ["fal-sim", "--listen", "127.0.0.1:0", "--queue-delay", "50ms", ...flags], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const url = line.match(/listening on (http:\S+)/)?.[1];
    if (url) {
      child.stdout.resume();
      return {
        url,
        async stop() {
          child.kill();
          await once(child, "exit");
        },
      };
    }
  }
  throw new Error("the simulator ended before it said where it listens");
}

const hosts = { "queue.fal.run": "queue", "fal.run": "run", "rest.fal.ai": "rest" };

/** FAL's client, unmodified: only the middleware it offers sends it here instead. */
export function falClient(simulator, credentials = "javascript:secret") {
  return createFalClient({
    credentials,
    retry: { maxRetries: 0 },
    requestMiddleware: async (request) => {
      const url = new URL(request.url);
      const part = hosts[url.hostname];
      if (!part) return request;
      return { ...request, url: `${simulator.url}/${part}${url.pathname}${url.search}` };
    },
  });
}

/** Asks the simulator's own endpoints. */
export async function sim(simulator, path, body, method = body ? "POST" : "GET") {
  const response = await fetch(`${simulator.url}/_sim/${path}`, { method, body: body && JSON.stringify(body) });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** Waits until `check` gives something, for at most ten seconds. */
export async function eventually(check) {
  for (const end = Date.now() + 10_000; Date.now() < end; ) {
    const value = await check();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("it did not happen within ten seconds");
}
