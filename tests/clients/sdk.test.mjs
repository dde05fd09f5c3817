// The official SDK runs one script against PocketBase itself and through the sidecar; nobody may be able to tell which was which.
import assert from 'node:assert/strict';
import test from 'node:test';
import { EventSource } from 'eventsource';
import PocketBase from 'pocketbase';
import { atEnd, startPocketBase, startSidecar, superuser, until } from './harness.mjs';
import { request } from './raw.mjs';
import { startSmtpSink } from './smtp_sink.mjs';
import { differences, transcript } from './transcript.mjs';
import { accounts } from './script/accounts.mjs';
import { files, protectedFiles } from './script/files.mjs';
import { realtime } from './script/live.mjs';
import { oauth2 } from './script/oauth2.mjs';
import { backups, collections, health, logs, prepare } from './script/operator.mjs';
import { records, removal } from './script/records.mjs';
import { refusals } from './script/refusals.mjs';

// The SDK expects a browser's EventSource, which Node 20 does not have.
globalThis.EventSource ??= EventSource;

// The one place where PocketBase itself tells a superuser that something in front of it names the client's address.
const proxyHeader = 'health for a superuser / result / data / possibleProxyHeader: "" directly, "X-Forwarded-For" through the sidecar';

test('the official SDK sees the same through the sidecar as without it', { timeout: 120_000 }, async (t) => {
  const direct = await play(t);
  const through = await play(t, startSidecar);
  assert.ok(direct.length > 100, `the script has only ${direct.length} steps`);
  const found = differences(direct, through);
  assert.deepEqual(found, [proxyHeader]);
  t.diagnostic(`${direct.length} steps compared`);
});

test('the SDK is told that PocketBase is away, and works again when it is back', { timeout: 60_000 }, async (t) => {
  const pocketbase = await startPocketBase(t);
  const { url } = await startSidecar(t, pocketbase);
  const pb = new PocketBase(url);
  await pocketbase.stop();
  const raw = await request(`${url}/api/health`, { headers: { origin: 'https://app.example.com' } });
  assert.match(raw.header('retry-after'), /^\d+$/);
  assert.equal(raw.header('access-control-allow-origin'), '*', 'or a browser would hide the answer from another origin');
  await assert.rejects(pb.health.check(), (error) => {
    const { status, message, data } = error.response;
    assert.deepEqual([error.status, status, typeof message, data], [503, 503, 'string', {}]);
    return true;
  });
  await pocketbase.start();
  await until('PocketBase to be seen again', () => pb.health.check().then(({ code }) => code === 200, () => false), 5_000);
});

async function play(t, front) {
  const [pocketbase, smtp] = await Promise.all([startPocketBase(t), startSmtpSink(t)]);
  const { url } = front ? await front(t, pocketbase) : pocketbase;
  const client = () => {
    const pb = new PocketBase(url).autoCancellation(false);
    // A listening client would reconnect for ever, also after a failure.
    atEnd(t, () => pb.realtime.unsubscribe());
    return pb;
  };
  const { steps, ...tell } = transcript();
  const world = { ...tell, url, smtp, client, admin: client(), guest: client(), restartPocketBase: pocketbase.restart, after: (end) => atEnd(t, end) };
  await world.saw('a superuser signs in', () => world.admin.collection('_superusers').authWithPassword(superuser.email, superuser.password));
  await prepare(world);
  world.user = await accounts(world);
  for (const scene of [oauth2, records, files, protectedFiles, realtime, removal, collections, health, logs, backups, refusals]) await scene(world);
  return steps;
}
