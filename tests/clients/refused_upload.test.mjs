// PocketBase refuses an upload by its length, while the client is still sending: the client must get to read why.
import assert from 'node:assert/strict';
import test from 'node:test';
import { startPocketBase, startSidecar } from './harness.mjs';
import { request } from './raw.mjs';

const body = Buffer.alloc(60_000_000, ' ');
const headers = { 'content-type': 'application/json' };
const attempts = 20;

test('an upload that is refused while it is being sent', { timeout: 60_000 }, async (t) => {
  const pocketbase = await startPocketBase(t);
  const sidecar = await startSidecar(t, pocketbase);
  for (const [way, { url }] of Object.entries({ directly: pocketbase, 'through the sidecar': sidecar })) {
    const target = `${url}/api/collections/users/records`;

    await t.test(`its client reads the refusal ${way}`, async () => {
      const send = () => fetch(target, { method: 'POST', headers, body }).then(({ status }) => status, ({ cause }) => cause.code);
      assert.deepEqual(await several(send), Array(attempts).fill(413));
    });

    await t.test(`its client is told that the connection ends ${way}`, async () => {
      const announce = () => request(target, { method: 'POST', headers: { ...headers, 'content-length': body.length }, withheld: true });
      assert.deepEqual(await several(async () => (await announce()).header('connection')), Array(attempts).fill('close'));
    });
  }
});

async function several(action) {
  const results = [];
  for (let i = 0; i < attempts; i++) results.push(await action());
  return results;
}
