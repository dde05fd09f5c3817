// A front-end developer's whole way, against the built product in one run: from registration to a gallery with nested folders.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { startProduct } from './front_end.mjs';
import { arrange, makeFolders, trees } from './gallery/folders.mjs';
import { natively } from './gallery/natively.mjs';
import { look, page } from './gallery/page.mjs';
import { browse, makePictures } from './gallery/pictures.mjs';
import { others, preferences, spent } from './gallery/person.mjs';

const ann = { email: 'ann@example.com', password: 'the password of ann', key: 'ann:secret-of-ann' };

test('from registration to a gallery with nested folders', { timeout: 240_000 }, async (t) => {
  const publicFiles = { 'gallery.html': page, 'pocketbase.js': readFileSync(fileURLToPath(import.meta.resolve('pocketbase'))) };
  const product = await startProduct(t, { publicFiles });
  const app = product.visitor();
  const world = { ...product, app, ann, folders: {}, pictures: {} };

  await t.test('a visitor registers, signs in, stores a key and opens a session', () => arrive(app));
  await t.test('folders are made, three deep', () => makeFolders(world));
  await t.test('pictures are made with each model, into folders, and one while its progress is watched', () => makePictures(world));
  await t.test('the gallery is paged through, searched, and its files are fetched', () => browse(world));
  await t.test('folders are renamed and moved, and pictures put into them', () => arrange(world));
  await t.test('a tree is deleted and restored, and what was deleted before stays deleted', () => trees(world));
  await t.test('what the SDK writes natively shows in the API, and is refused where the API refuses', () => natively(world));
  await t.test('preferences are kept for each model', () => preferences(world));
  await t.test('somebody else sees nothing of it', () => others(world));
  await t.test('the statistics agree with every price that was told', () => spent(world));
  await t.test('after logging out nothing is generated', () => leave(world));
  await t.test('a browser signs in and shows the thumbnails', (t) => look(t, world));
});

async function arrive(app) {
  const signedIn = await app.registers(ann.email, ann.password, 'Ann');
  assert.equal(signedIn.message, 'Login successful. No FAL token configured - setup required');
  assert.deepEqual([signedIn.session_id, signedIn.expires_at, signedIn.record.name], ['', null, 'Ann']);
  const status = () => app.asks('GET', 'auth/token-status');
  assert.deepEqual(await status(), { has_token: false, has_active_session: false, requires_login: false, needs_setup: true });
  await app.refused(401, 'authentication_error', 'POST', 'generate/image', { model: 'flux/schnell', prompt: 'too early' });
  await app.refused(400, 'validation_error', 'POST', 'auth/create-session', { password: ann.password });
  await app.unlocks(ann.key, ann.password);
  assert.deepEqual(await status(), { has_token: true, has_active_session: true, requires_login: false, needs_setup: false });
  const open = await app.asks('GET', 'status');
  assert.deepEqual([open.status, open.services.pocketbase, open.services.sessions.active], ['ok', 'ok', 1]);
}

async function leave({ app, ann }) {
  const stats = await app.asks('GET', 'financial/stats');
  await app.asks('DELETE', 'auth/session');
  assert.equal((await app.asks('GET', 'auth/token-status')).requires_login, true);
  await app.refused(401, 'authentication_error', 'POST', 'generate/image', { model: 'flux/schnell', prompt: 'too late' });
  assert.deepEqual(await app.asks('GET', 'financial/stats'), stats, 'what was made is there without a session');
  app.session = (await app.asks('POST', 'auth/login', { email: ann.email, password: ann.password })).session_id;
  assert.equal((await app.asks('GET', 'auth/token-status')).has_active_session, true);
  await app.asks('DELETE', 'auth/session');
  app.pb.authStore.clear();
  await app.refused(401, 'authentication_error', 'GET', 'images');
}
