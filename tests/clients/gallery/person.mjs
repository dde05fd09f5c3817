// What belongs to one person: preferences, money, and that nobody else sees any of it.
import assert from 'node:assert/strict';
import { users } from '../front_end.mjs';

const model = 'hidream/hidream-i1-dev';

export async function preferences({ app }) {
  assert.equal((await app.asks('POST', 'preferences/get', { model_name: model })).has_preferences, false);
  const wish = { num_images: 2, negative_prompt: 'fog' };
  const saved = { success: true, message: 'Preferences saved successfully' };
  assert.deepEqual(await app.asks('POST', 'preferences/save', { model_name: model, preferences: wish }), saved);
  const kept = { model_name: model, has_preferences: true, preferences: wish };
  assert.deepEqual(await app.asks('GET', `preferences/${model}`), kept);
  assert.deepEqual(await app.asks('GET', `preferences/${encodeURIComponent(model)}`), kept);
  assert.deepEqual(await app.asks('POST', `preferences/${model}`, { num_images: 3 }), saved);
  assert.deepEqual((await app.asks('POST', 'preferences/get', { model_name: model })).preferences, { num_images: 3 });
  const wrong = await app.refused(400, 'validation_error', 'POST', 'preferences/save', { model_name: model, preferences: { num_images: 'many' } });
  assert.deepEqual(Object.keys(wrong.data), ['preferences.num_images']);
  const [row] = await app.pb.collection('model_preferences').getFullList();
  assert.deepEqual([row.model_name, row.preferences], [model, { num_images: 3 }]);
  await assert.rejects(app.pb.collection('model_preferences').update(row.id, { preferences: {} }), ({ status }) => [403, 404].includes(status));
}

export async function others({ app, visitor, folders, pictures }) {
  const bob = visitor();
  await bob.registers('bob@example.com', 'the password of bob', 'Bob');
  assert.deepEqual(await bob.asks('GET', 'collections'), { collections: [] });
  assert.deepEqual(await bob.asks('GET', 'images'), { images: [], next: null });
  assert.deepEqual(await bob.asks('GET', 'financial/stats'), { total_spent: 0, total_images: 0, recent_spending: 0, average_cost: 0 });
  assert.equal((await bob.asks('GET', `preferences/${model}`)).has_preferences, false);
  const [job] = (await app.asks('GET', 'jobs?limit=1')).jobs;
  for (const path of [`collections/${folders.kyoto}`, `images/${pictures.temple[0]}`, `jobs/${job.id}`, `collections/${folders.kyoto}/images`]) {
    const unknown = path.replace(/[a-z0-9]{15}/, 'abcdefghij01234');
    assert.deepEqual((await bob.tries('GET', path)).body, (await bob.tries('GET', unknown)).body, path);
    await bob.refused(404, 'not_found', 'GET', path);
  }
  bob.session = app.session;
  await bob.refused(403, 'authorization_error', 'POST', 'generate/image', { model: 'flux/schnell', prompt: 'on the wrong bill' });
  for (const table of ['folders', 'images', 'generations', 'model_preferences', 'spend_events']) {
    assert.equal((await bob.pb.collection(table).getList(1, 10)).totalItems, 0, table);
  }
}

export async function spent({ app, costs, pictures }) {
  const [total, images] = [costs.reduce((sum, cost) => sum + Math.round(cost * 1e6), 0) / 1e6, Object.values(pictures).flat().length];
  const average = Math.round((total * 1e6) / images) / 1e6;
  const stats = await app.asks('GET', 'financial/stats');
  assert.deepEqual(stats, { total_spent: total, total_images: images, recent_spending: total, average_cost: average });
  const listed = (await app.asks('GET', 'images')).images.reduce((sum, { cost }) => sum + Math.round(cost * 1e6), 0);
  assert.equal(listed, total * 1e6);
  const ledger = await app.pb.collection('spend_events').getFullList();
  assert.equal(ledger.reduce((sum, { amount_micros: micros }) => sum + micros, 0), total * 1e6);
  const me = await app.pb.collection(users).getOne(app.pb.authStore.record.id);
  assert.deepEqual(me.financial_data, { total_spent: total, total_images: images });
}
