// A front end of the former Go extension, unmodified: only paths, methods, headers and names that it knew.
import assert from 'node:assert/strict';
import test from 'node:test';
import PocketBase from 'pocketbase';
import { picture, startProduct, users } from './front_end.mjs';

const email = 'old@example.com';
const password = 'an old password';

test('a front end of the former extension works as it did', { timeout: 120_000 }, async (t) => {
  const { url } = await startProduct(t);
  const pb = new PocketBase(url).autoCancellation(false);
  const api = former(url, pb);

  await t.test('it looks whether the routes are there', () => status(api));
  await t.test('it signs up by the SDK, stores a token and opens a session', () => signUp(pb, api));
  await t.test('it keeps preferences', () => preferences(api));
  await t.test('it makes folders and pictures', () => create(url, pb, api));
  await t.test('it reads and writes its rows natively', () => rows(pb, api));
  await t.test('it shows what was spent', () => money(pb, api));
  await t.test('it changes the password of the token, and takes it away', () => goodbye(api));
});

/** How it asked: a bearer token, the session in a header, and `message` of an error for the user. */
function former(url, pb) {
  const api = async (method, path, body) => {
    const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${pb.authStore.token}` };
    if (api.session) headers['X-Session-ID'] = api.session;
    const answer = await fetch(`${url}/api/custom${path}`, { method, headers, body: body && JSON.stringify(body) });
    const data = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(data.message), { status: answer.status, kind: data.error });
    return data;
  };
  return api;
}

async function status(api) {
  assert.deepEqual(await api('GET', '/test'), { status: 'ok', message: 'Custom routes are working correctly' });
  const { status, services, available_models: models } = await api('GET', '/status');
  assert.deepEqual([status, services.encryption, services.sessions], ['ok', 'AES-256-GCM with PBKDF2', { active: 0, total: 0 }]);
  assert.deepEqual(models['flux/schnell'], { name: 'flux/schnell', display_name: 'Flux Schnell', cost_per_image: 0.003 });
}

async function signUp(pb, api) {
  await pb.collection(users).create({ email, password, passwordConfirm: password });
  await pb.collection(users).authWithPassword(email, password);
  await assert.rejects(api('POST', '/auth/create-session', { password }), { status: 400, kind: 'validation_error' });
  const setup = await api('POST', '/tokens/setup', { fal_token: 'old:secret-of-old', password });
  assert.deepEqual([setup.success, setup.message], [true, 'FAL token setup successfully']);
  assert.deepEqual(await api('POST', '/tokens/verify', { password }), { has_token: true, can_decrypt: true });
  assert.deepEqual(await api('POST', '/tokens/verify', { password: 'wrong' }), { has_token: true, can_decrypt: false });
  assert.equal((await api('GET', '/auth/token-status')).requires_login, true);
  await assert.rejects(api('POST', '/auth/create-session', { password: 'wrong' }), { status: 401, kind: 'authentication_error' });
  const { session_id: session, expires_at: expires } = await api('POST', '/auth/create-session', { password });
  assert.ok(new Date(expires) > new Date());
  api.session = session;
  const signedIn = await api('POST', '/auth/login', { email, password });
  assert.deepEqual([signedIn.message, signedIn.record.email], ['Login successful with auto-created session', email]);
  await assert.rejects(api('POST', '/auth/login', { email, password: 'wrong' }), { status: 400 });
}

async function preferences(api) {
  const model_name = 'hidream/hidream-i1-fast';
  assert.deepEqual(await api('POST', '/preferences/get', { model_name }), { model_name, has_preferences: false, preferences: {} });
  await api('POST', '/preferences/save', { model_name, preferences: { num_inference_steps: 20 } });
  assert.deepEqual((await api('GET', `/preferences/${model_name}`)).preferences, { num_inference_steps: 20 });
  await api('POST', `/preferences/${model_name}`, { preferences: { num_inference_steps: 21 } });
  assert.deepEqual((await api('POST', '/preferences/get', { model_name })).preferences, { num_inference_steps: 21 });
}

async function create(url, pb, api) {
  const models = await api('GET', '/generate/models');
  const { type, min, max, options, required } = models['flux/schnell'].parameters.num_images;
  assert.deepEqual([type, min, max, options, required], ['integer', 1, 4, undefined, false]);

  const folder = await api('POST', '/collections/create', { name: 'Holidays' });
  const inner = await api('POST', '/collections/create', { name: 'Beach', parent_id: folder.id });
  const { collections } = await api('GET', '/collections');
  const shown = collections.map(({ id, user_id, name, parent_id, private: hidden }) => ({ id, user_id, name, parent_id, private: hidden }));
  const user_id = pb.authStore.record.id;
  assert.deepEqual(shown, [
    { id: inner.id, user_id, name: 'Beach', parent_id: folder.id, private: false },
    { id: folder.id, user_id, name: 'Holidays', parent_id: '', private: false },
  ]);
  for (const { created, updated } of collections) assert.ok(new Date(created) <= new Date(updated));

  const body = { model: 'flux/schnell', prompt: 'a beach', parameters: { num_images: 2, seed: 1 }, collection_id: inner.id };
  const made = await api('POST', '/generate/image', body);
  assert.deepEqual([made.model, made.cost, made.images.length], ['flux/schnell', 0.006, 2]);
  for (const { url: address, thumbnail_url: small } of made.images) {
    assert.match((await picture(url, address)).type, /^image\//);
    assert.equal((await picture(url, small)).status, 200);
  }
  await assert.rejects(api('POST', '/generate/image', { model: 'no/model', prompt: 'x' }), { status: 400, kind: 'validation_error' });
  await assert.rejects(api('POST', '/generate/image', { model: 'flux/schnell' }), { status: 400, message: 'prompt is required' });
}

async function rows(pb, api) {
  const [folder] = await pb.collection('folders').getFullList({ filter: 'parent_id != ""' });
  const images = await pb.collection('images').getFullList({ filter: pb.filter('folder_id = {:id}', folder), sort: 'batch_number' });
  assert.deepEqual(images.map(({ batch_number: number, prompt, model }) => [number, prompt, model]), [[0, 'a beach', 'flux/schnell'], [1, 'a beach', 'flux/schnell']]);
  for (const { url, user_id: owner, request_id: request, image_size: size } of images) {
    assert.match(url, /^\/api\/files\/images\//);
    assert.ok(owner === folder.user_id && request && size.width > 0 && size.height > 0);
  }
  const [first, second] = images;
  await pb.collection('images').update(first.id, { title: 'Sand', folder_id: '' });
  await pb.collection('images').update(second.id, { deleted_at: new Date().toISOString() });
  const live = await pb.collection('images').getFullList({ filter: 'deleted_at = ""' });
  assert.deepEqual(live.map(({ title, folder_id: at }) => [title, at]), [['Sand', '']]);
  await pb.collection('images').update(second.id, { deleted_at: '' });
  await pb.collection('folders').update(folder.id, { name: 'Sea', private: true });
  assert.equal((await api('GET', '/collections')).collections[0].name, 'Sea');
  const saved = await pb.collection('model_preferences').getFullList();
  assert.deepEqual(pb.authStore.record && (await pb.collection(users).getOne(folder.user_id)).model_preferences, saved.map(({ id }) => id));
}

async function money(pb, api) {
  assert.deepEqual(await api('GET', '/financial/stats'), { total_spent: 0.006, total_images: 2, recent_spending: 0.006, average_cost: 0.003 });
  const { financial_data: noted, fal_token: token } = await pb.collection(users).getOne(pb.authStore.record.id);
  assert.deepEqual([noted, token], [{ total_spent: 0.006, total_images: 2 }, undefined]);
}

async function goodbye(api) {
  const old_password = password;
  const new_password = 'another password';
  await assert.rejects(api('POST', '/tokens/change-password', { old_password: 'wrong', new_password }), { status: 401 });
  assert.equal((await api('POST', '/tokens/change-password', { old_password, new_password })).success, true);
  assert.equal((await api('POST', '/tokens/verify', { password: new_password })).can_decrypt, true);
  assert.deepEqual(await api('DELETE', '/auth/session'), { success: true, message: 'Session deleted successfully' });
  await assert.rejects(api('POST', '/generate/image', { model: 'flux/schnell', prompt: 'x' }), { status: 401, kind: 'authentication_error' });
  assert.equal((await api('DELETE', '/tokens')).success, true);
  assert.equal((await api('GET', '/auth/token-status')).has_token, false);
}
