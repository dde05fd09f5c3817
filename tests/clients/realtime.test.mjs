// A thousand clients listen through the sidecar, and each hears everything exactly once.
import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import http from 'node:http';
import test from 'node:test';
import { listen } from './event_stream.mjs';
import { atEnd, residentKilobytes, startPocketBase, startSidecar, superuser, until } from './harness.mjs';
import { json } from './raw.mjs';

const listeners = 1000;
const events = 20;

test('1,000 subscriptions each receive each of 20 events exactly once', { timeout: 120_000 }, async (t) => {
  const pocketbase = await startPocketBase(t);
  const sidecar = await startSidecar(t, pocketbase);
  const token = await prepare(pocketbase.url);
  const announce = async (text) => (await json(`${sidecar.url}/api/collections/news/records`, { method: 'POST', token, body: { text } })).id;

  const before = { memory: residentKilobytes(sidecar.pid), descriptors: descriptors(sidecar.pid) };
  const streams = await inTurns(listeners, 50, () => listen(sidecar.url));
  atEnd(t, () => streams.forEach((stream) => stream.hangUp()));
  const agent = new http.Agent({ keepAlive: true, maxSockets: 20 });
  atEnd(t, () => agent.destroy());
  await inTurns(listeners, 20, (i) => subscribe(sidecar.url, agent, streams[i].clientId));
  const connected = residentKilobytes(sidecar.pid);

  const sent = [];
  for (let i = 0; i < events; i++) sent.push(await announce(`event ${i}`));
  // What comes on one stream comes in order: with the last one heard, nothing can still come twice.
  await until('everybody to hear everything', () => streams.every(({ heard }) => new Set(heard).size === events), 60_000);
  const last = await announce('the last one');
  await until('everybody to hear the last one', () => streams.every(({ heard }) => heard.at(-1) === last), 30_000);

  const expected = [...sent, last].sort();
  for (const { heard } of streams) assert.deepEqual(heard.toSorted(), expected);
  assert.equal(new Set(streams.map(({ clientId }) => clientId)).size, listeners);
  const after = residentKilobytes(sidecar.pid);
  t.diagnostic(`${before.memory} kB before, ${connected} kB with ${listeners} subscriptions, ${after} kB after ${events + 1} events`);
  t.diagnostic(`${((after - before.memory) / listeners).toFixed(1)} kB of resident memory per subscription`);

  streams.forEach((stream) => stream.hangUp());
  agent.destroy();
  await until('the connections of the clients that left to be let go', () => descriptors(sidecar.pid) <= before.descriptors + 25, 5_000);
});

async function prepare(url) {
  const body = { identity: superuser.email, password: superuser.password };
  const { token } = await json(`${url}/api/collections/_superusers/auth-with-password`, { method: 'POST', body });
  await json(`${url}/api/collections`, { method: 'POST', token, body: { name: 'news', type: 'base', listRule: '', fields: [{ name: 'text', type: 'text' }] } });
  return token;
}

function subscribe(url, agent, clientId) {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const outgoing = http.request(`${url}/api/realtime`, { method: 'POST', agent, headers }, (incoming) => {
      incoming.resume().on('end', () => (incoming.statusCode === 204 ? resolve() : reject(new Error(`subscribing gave ${incoming.statusCode}`))));
    });
    outgoing.on('error', reject).end(JSON.stringify({ clientId, subscriptions: ['news/*'] }));
  });
}

async function inTurns(count, atOnce, action) {
  const results = [];
  for (let i = 0; i < count; i += atOnce) results.push(...(await Promise.all(Array.from({ length: Math.min(atOnce, count - i) }, (_, j) => action(i + j)))));
  return results;
}

// Only root may list them, since the sidecar refuses to be looked into; Linux 6.2 and newer count them for everybody.
const descriptors = (pid) => (process.getuid() === 0 ? readdirSync(`/proc/${pid}/fd`).length : statSync(`/proc/${pid}/fd`).size);
