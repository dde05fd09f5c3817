// What a front end has: the official SDK for accounts, rows and live updates, and `fetch` for the sidecar's own endpoints.
import assert from 'node:assert/strict';
import { EventSource } from 'eventsource';
import PocketBase from 'pocketbase';
import { atEnd, startFal, startPocketBase, startSidecar, superuser, until } from './harness.mjs';

// The SDK expects a browser's EventSource, which Node 20 does not have.
globalThis.EventSource ??= EventSource;

export const users = 'generatio_users';

/** The whole product before FAL's simulator. `visitor()` is a front end that nobody has signed in to yet. */
export async function startProduct(t, { publicFiles } = {}) {
  const [pocketbase, fal] = await Promise.all([
    startPocketBase(t, { store: true, publicFiles }),
    startFal(t, '--queue-delay', '300ms', '--run-time', '500ms', '--concurrency', '20'),
  ]);
  const account = ['--pocketbase-email', superuser.email, '--pocketbase-password', superuser.password, '--kdf-iterations', '100000'];
  const { url } = await startSidecar(t, pocketbase, ...account, ...fal.flags);
  const sdk = () => {
    const pb = new PocketBase(url).autoCancellation(false);
    // A listening client would reconnect for ever, also after a failure.
    atEnd(t, () => pb.realtime.unsubscribe());
    return pb;
  };
  const admin = sdk();
  await admin.collection('_superusers').authWithPassword(superuser.email, superuser.password);
  await until('the sidecar to have looked at PocketBase', async () => {
    const foreign = await fetch(`${url}/api/custom/auth/token-status`, { headers: { authorization: admin.authStore.token } });
    return foreign.status === 401;
  });
  return { url, admin, visitor: () => frontEnd(url, sdk()) };
}

function frontEnd(url, pb) {
  const app = { url, pb, session: '' };
  /** One request, and what came of it. */
  app.tries = async (method, path, json, headers = {}) => {
    const answer = await fetch(`${url}/api/custom/${path}`, {
      method,
      headers: {
        ...(pb.authStore.token && { authorization: `Bearer ${pb.authStore.token}` }),
        ...(app.session && { 'x-session-id': app.session }),
        ...(json && { 'content-type': 'application/json' }),
        ...headers,
      },
      body: json && JSON.stringify(json),
    });
    return { status: answer.status, headers: answer.headers, body: await answer.json() };
  };
  /** One request that must succeed. */
  app.asks = async (method, path, json, headers) => {
    const { status, body } = await app.tries(method, path, json, headers);
    assert.ok(status === 200 || status === 202, `${method} ${path} was answered ${status}: ${JSON.stringify(body)}`);
    return body;
  };
  /** One request that must be refused in the contract's shape. */
  app.refused = async (status, error, method, path, json, headers) => {
    const answer = await app.tries(method, path, json, headers);
    assert.deepEqual([answer.status, answer.body.status, answer.body.error], [status, status, error], `${method} ${path}: ${JSON.stringify(answer.body)}`);
    assert.deepEqual(Object.keys(answer.body).sort(), ['data', 'error', 'message', 'status']);
    assert.match(answer.headers.get('x-request-id'), /.+/);
    return answer.body;
  };
  /** A new account and a sign-in, as a registration form does it. */
  app.registers = async (email, password, name) => {
    await pb.collection(users).create({ email, password, passwordConfirm: password, name });
    const signedIn = await app.asks('POST', 'auth/login', { email, password });
    pb.authStore.save(signedIn.token, signedIn.record);
    return signedIn;
  };
  /** A FAL key, and a session that can use it. */
  app.unlocks = async (key, password) => {
    await app.asks('POST', 'tokens/setup', { fal_token: key, password });
    app.session = (await app.asks('POST', 'auth/create-session', { password })).session_id;
  };
  return app;
}

/** What a browser gets for an address that an answer holds, with neither token nor session. */
export async function picture(url, address) {
  const answer = await fetch(new URL(address, url));
  return { status: answer.status, type: answer.headers.get('content-type'), bytes: Buffer.from(await answer.arrayBuffer()) };
}
