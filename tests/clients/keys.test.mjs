// A front end's whole way with a FAL key: the official SDK for accounts and sign-in, `fetch` for our own endpoints.
import assert from 'node:assert/strict';
import test from 'node:test';
import PocketBase from 'pocketbase';
import { startFal, startPocketBase, startSidecar, superuser, until } from './harness.mjs';
import { startSmtpSink } from './smtp_sink.mjs';

const users = 'generatio_users';

test('a key is set up, used, and follows its user from password to password', { timeout: 90_000 }, async (t) => {
  const { pb, call, admin, smtp } = await world(t);
  const ann = { email: 'ann@example.com', password: 'the first password' };
  const status = () => call('GET', 'auth/token-status').then(({ body }) => body);
  const login = () => call('POST', 'auth/login', ann).then(({ body }) => body);

  await pb.collection(users).create({ ...ann, passwordConfirm: ann.password });
  await pb.collection(users).authWithPassword(ann.email, ann.password);
  assert.deepEqual(await status(), { has_token: false, has_active_session: false, requires_login: false, needs_setup: true });

  const setup = { fal_token: 'ann:secret-of-ann', password: ann.password };
  assert.deepEqual((await call('POST', 'tokens/setup', setup)).body, { success: true, message: 'FAL token setup successfully', verified: true });
  assert.deepEqual(await status(), { has_token: true, has_active_session: false, requires_login: true, needs_setup: false });

  const session = (await call('POST', 'auth/create-session', { password: ann.password })).body;
  assert.match(session.session_id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.ok(Math.abs(new Date(session.expires_at) - Date.now() - 24 * 3600e3) < 60e3, session.expires_at);
  assert.deepEqual((await call('POST', 'tokens/verify', { password: ann.password })).body, { has_token: true, can_decrypt: true });
  assert.deepEqual(await status(), { has_token: true, has_active_session: true, requires_login: false, needs_setup: false });

  const signedIn = await login();
  assert.equal(signedIn.message, 'Login successful with auto-created session');
  pb.authStore.save(signedIn.token, signedIn.record);
  assert.ok((await pb.collection(users).authRefresh()).record.id, 'the SDK goes on with our sign-in');
  for (const { session_id: id } of [session, signedIn]) {
    assert.equal((await call('DELETE', 'auth/session', undefined, { 'x-session-id': id })).status, 200);
  }
  assert.equal((await status()).has_active_session, false);

  await changedBySdk({ pb, ann, login });
  await reset({ pb, ann, login, smtp });
  assert.deepEqual(await status(), { has_token: true, has_active_session: false, requires_login: true, needs_setup: true });
  assert.equal((await call('POST', 'tokens/setup', { ...setup, password: ann.password })).status, 200);
  assert.equal((await login()).message, 'Login successful with auto-created session');

  assert.equal((await call('DELETE', 'tokens')).body.success, true);
  assert.equal((await login()).message, 'Login successful. No FAL token configured - setup required');
  const seen = JSON.stringify(await logged(admin));
  for (const secret of [setup.fal_token, 'first password', 'second password', 'third password']) assert.ok(!seen.includes(secret), secret);
});

/** What PocketBase has logged until now; it writes its log every three seconds. */
async function logged(admin) {
  const marker = crypto.randomUUID();
  await admin.send('/api/health', { query: { marker } });
  return until('the log to be written', async () => {
    const { items } = await admin.logs.getList(1, 500);
    return JSON.stringify(items).includes(marker) && items;
  });
}

/** By PocketBase's own form: the sidecar only sees it pass. */
async function changedBySdk({ pb, ann, login }) {
  const password = 'the second password';
  await pb.collection(users).update(pb.authStore.record.id, { oldPassword: ann.password, password, passwordConfirm: password });
  ann.password = password;
  const followed = await login();
  assert.equal(followed.message, 'Login successful with auto-created session');
  pb.authStore.save(followed.token, followed.record);

  const form = new FormData();
  const fields = { oldPassword: password, password: 'the password in a form', passwordConfirm: 'the password in a form' };
  Object.entries(fields).forEach(([name, value]) => form.append(name, value));
  await pb.collection(users).update(pb.authStore.record.id, form);
  ann.password = fields.password;
  assert.equal((await login()).message, 'Login successful with auto-created session');
}

/** Whoever forgot their password forgot what opens the key. */
async function reset({ pb, ann, login, smtp }) {
  await pb.collection(users).requestPasswordReset(ann.email);
  const [, token] = /auth\/[a-z-]+\/([\w.-]+)/.exec((await smtp.next(ann.email)).text);
  ann.password = 'the third password';
  await pb.collection(users).confirmPasswordReset(token, ann.password, ann.password);
  const after = await login();
  assert.equal(after.message, "Login successful. FAL token found but password doesn't match - please call create-session manually");
  assert.deepEqual([after.session_id, after.expires_at, after.needs_setup], ['', null, true]);
  pb.authStore.save(after.token, after.record);
}

async function world(t) {
  const [pocketbase, smtp, fal] = await Promise.all([startPocketBase(t, { store: true }), startSmtpSink(t), startFal(t)]);
  const account = ['--pocketbase-email', superuser.email, '--pocketbase-password', superuser.password, '--kdf-iterations', '100000'];
  const { url } = await startSidecar(t, pocketbase, ...account, ...fal.flags);
  const [pb, admin] = [new PocketBase(url), new PocketBase(url)];
  await admin.collection('_superusers').authWithPassword(superuser.email, superuser.password);
  await admin.settings.update({
    meta: { senderName: 'Keys', senderAddress: 'noreply@example.com' },
    smtp: { enabled: true, host: '127.0.0.1', port: smtp.port },
  });
  const call = async (method, path, json, headers = {}) => {
    const answer = await fetch(`${url}/api/custom/${path}`, {
      method,
      headers: { authorization: `Bearer ${pb.authStore.token}`, ...(json && { 'content-type': 'application/json' }), ...headers },
      body: json && JSON.stringify(json),
    });
    return { status: answer.status, body: await answer.json() };
  };
  await until('the sidecar to have looked at PocketBase', async () => {
    const foreign = await fetch(`${url}/api/custom/auth/token-status`, { headers: { authorization: admin.authStore.token } });
    return foreign.status === 401;
  });
  return { pb, admin, call, smtp };
}
