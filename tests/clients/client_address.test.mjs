// Whose address PocketBase believes a request came from: always the true one, whatever the client claims.
import assert from 'node:assert/strict';
import test from 'node:test';
import { listen } from './event_stream.mjs';
import { atEnd, startPocketBase, startSidecar, superuser, until } from './harness.mjs';
import { json, request } from './raw.mjs';

const client = '127.0.0.2';
const claimed = '203.0.113.9';

const spoofed = {
  'X-Real-IP': { 'X-Real-IP': claimed },
  'X-Real-IP twice': { 'X-Real-IP': [claimed, claimed] },
  'X-Real-IP in lower case': { 'x-real-ip': claimed },
  'X-Forwarded-For': { 'X-Forwarded-For': `${claimed}, ${claimed}` },
  'X-Forwarded-For twice': { 'X-Forwarded-For': [claimed, claimed] },
  Forwarded: { Forwarded: `for=${claimed};proto=https` },
  'a Connection line that names X-Real-IP': { 'X-Real-IP': claimed, connection: 'keep-alive, X-Real-IP' },
};

test('PocketBase sees the address of the client and not of the sidecar', { timeout: 60_000 }, async (t) => {
  const pocketbase = await startPocketBase(t);
  const sidecar = await startSidecar(t, pocketbase);
  const token = await trustXRealIp(pocketbase.url);
  const health = (headers) => json(`${sidecar.url}/api/health`, { token, headers, localAddress: client });

  await t.test('the health answer for a superuser shows it', async () => {
    assert.equal((await health()).data.realIP, client);
  });

  await t.test('the log of PocketBase shows it', async () => {
    await request(`${sidecar.url}/api/collections/users/records?seen=in-the-log`, { headers: spoofed['X-Real-IP'], localAddress: client });
    const filter = encodeURIComponent('data.url ~ "seen=in-the-log"');
    const line = await until('the log line', async () => (await json(`${pocketbase.url}/api/logs?filter=${filter}`, { token })).items[0]);
    assert.deepEqual([line.data.userIP, line.data.remoteIP], [client, '127.0.0.1']);
  });

  for (const [name, headers] of Object.entries(spoofed)) {
    await t.test(`a client cannot choose it by ${name}`, async () => {
      assert.equal((await health(headers)).data.realIP, client);
    });
  }
});

test('an event stream and its subscriptions come from one address', { timeout: 60_000 }, async (t) => {
  const pocketbase = await startPocketBase(t);
  const sidecar = await startSidecar(t, pocketbase);
  await trustXRealIp(pocketbase.url);
  const { clientId, hangUp } = await listen(sidecar.url, { localAddress: client });
  atEnd(t, hangUp);
  const body = JSON.stringify({ clientId, subscriptions: ['users/*'] });
  const subscribe = (localAddress, headers) =>
    request(`${sidecar.url}/api/realtime`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body, localAddress });
  assert.equal((await subscribe('127.0.0.4', { 'X-Real-IP': client })).status, 400);
  assert.equal((await subscribe(client)).status, 204);
});

// PocketBase reads only the headers it is told to, so every one that a client might claim is told to it in turn.
test('no header that claims an address gets past the sidecar', { timeout: 60_000 }, async (t) => {
  const pocketbase = await startPocketBase(t);
  const sidecar = await startSidecar(t, pocketbase);
  const token = await trustXRealIp(pocketbase.url);
  const told = {
    'X-Real-IP': client,
    'X-Forwarded-For': client,
    'X-Forwarded-Client-Ip': '127.0.0.1',
    Forwarded: '127.0.0.1',
    X_Real_IP: 'refused',
    X_Forwarded_For: 'refused',
  };
  for (const [name, expected] of Object.entries(told)) {
    await t.test(name, async () => {
      await json(`${pocketbase.url}/api/settings`, { method: 'PATCH', token, body: { trustedProxy: { headers: [name] } } });
      const ask = ({ url }) => request(`${url}/api/health`, { headers: { authorization: token, [name]: claimed }, localAddress: client });
      const [alone, through] = [await ask(pocketbase), await ask(sidecar)];
      assert.equal(alone.json().data.realIP, claimed, 'PocketBase alone believes the claim');
      assert.equal(through.status === 400 ? 'refused' : through.json().data.realIP, expected);
    });
  }
});

test('a trusted proxy in front of the sidecar is believed, and nobody else', { timeout: 60_000 }, async (t) => {
  const pocketbase = await startPocketBase(t);
  const sidecar = await startSidecar(t, pocketbase, '--trusted-proxies', '127.0.0.3/32');
  const token = await trustXRealIp(pocketbase.url);
  const seen = async (localAddress, headers) => (await json(`${sidecar.url}/api/health`, { token, headers, localAddress })).data.realIP;
  const forwarded = { 'X-Forwarded-For': '198.51.100.7' };
  assert.equal(await seen('127.0.0.3', forwarded), '198.51.100.7');
  assert.equal(await seen('127.0.0.3', { 'X-Forwarded-For': `${claimed}, 198.51.100.7` }), '198.51.100.7', 'what the client told the trusted proxy is no proof');
  assert.equal(await seen('127.0.0.3', { 'X-Forwarded-For': [claimed, '198.51.100.7'] }), '198.51.100.7', 'the last line is the one of the trusted proxy');
  assert.equal(await seen('127.0.0.3', { 'X-Forwarded-For': '198.51.100.7, 127.0.0.3' }), '198.51.100.7', 'two trusted proxies in a row');
  assert.equal(await seen('127.0.0.3', { 'X-Forwarded-For': '2001:db8::7' }), '2001:0db8:0000:0000:0000:0000:0000:0007');
  assert.equal(await seen('127.0.0.3', { 'X-Real-IP': claimed }), '127.0.0.3');
  assert.equal(await seen('127.0.0.3'), '127.0.0.3');
  assert.equal(await seen(client, forwarded), client);
});

async function trustXRealIp(url) {
  const body = { identity: superuser.email, password: superuser.password };
  const { token } = await json(`${url}/api/collections/_superusers/auth-with-password`, { method: 'POST', body });
  await json(`${url}/api/settings`, { method: 'PATCH', token, body: { trustedProxy: { headers: ['X-Real-IP'] } } });
  return token;
}
