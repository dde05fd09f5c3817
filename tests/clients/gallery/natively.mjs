// The same rules hold where the front end writes to PocketBase with its SDK.
import assert from 'node:assert/strict';
import { ids, names } from './folders.mjs';

export async function natively({ app, admin, folders, pictures }) {
  const { pb } = app;
  const me = pb.authStore.record.id;
  const [rows, images] = [pb.collection('folders'), pb.collection('images')];
  const { travels, japan, kyoto, drafts } = folders;
  const [temple] = pictures.temple;

  await rows.update(drafts, { name: 'Renamed by the SDK' });
  assert.equal((await app.asks('GET', `collections/${drafts}`)).name, 'Renamed by the SDK');
  await images.update(temple, { folder_id: drafts, title: 'My temple' });
  const shown = await app.asks('GET', `images/${temple}`);
  assert.deepEqual([shown.collection_id, shown.title], [drafts, 'My temple']);
  await images.update(temple, { deleted_at: new Date() });
  assert.ok((await ids(app, 'images?deleted=true')).includes(temple));
  await app.asks('POST', `images/${temple}/restore`);
  assert.equal((await images.getOne(temple)).deleted_at, '');
  await images.update(temple, { folder_id: kyoto });

  const before = await ids(app, 'images');
  await rows.update(japan, { deleted_at: new Date() });
  assert.deepEqual((await names(app)).toSorted(), ['Renamed by the SDK', 'Travels']);
  assert.ok(!(await ids(app, 'images')).includes(temple), 'what is in it went along');
  await app.asks('POST', `collections/${japan}/restore`);
  await app.asks('DELETE', `collections/${japan}`);
  await rows.update(japan, { deleted_at: '' });
  assert.deepEqual(await ids(app, 'images'), before, 'deleted by one, restored by the other');

  const refused = async (what, action) => {
    await assert.rejects(action, (error) => [400, 403, 404, 409].includes(error.status), what);
  };
  await refused('a ring', () => rows.update(travels, { parent_id: kyoto }));
  await refused('a folder under itself', () => rows.update(travels, { parent_id: travels }));
  await refused('a name that cannot be', () => rows.update(drafts, { name: 'a:b' }));
  await refused('a folder that does not exist', () => rows.update(drafts, { parent_id: 'abcdefghij01234' }));
  await refused("somebody else's folder to be", () => rows.create({ name: 'n', user_id: 'abcdefghij01234' }));
  await refused('removal for good', () => rows.delete(drafts));
  await refused('another price', () => images.update(temple, { cost_micros: 0 }));
  await refused('another address', () => images.update(temple, { url: 'https://example.com/x.png' }));
  await refused('a picture out of nothing', () => images.create({ user_id: me, prompt: 'x', url: '/x' }));
  await refused('removal of a picture', () => images.delete(temple));
  await refused('a job', () => pb.collection('generations').create({ user_id: me, status: 'completed' }));
  await refused('a charge', () => pb.collection('spend_events').create({ user_id: me, job_id: 'x', kind: 'x', amount_micros: -5 }));
  await refused('money', () => pb.collection('generatio_users').update(me, { financial_data: { total_spent: 0, total_images: 0 } }));
  const deep = await rows.create({ name: 'made by the SDK', user_id: me, parent_id: kyoto });
  assert.equal((await app.asks('GET', `collections/${deep.id}`)).parent_id, kyoto);
  await app.asks('DELETE', `collections/${deep.id}`);
  assert.equal((await admin.collection('images').getOne(temple)).cost_micros, 3000);
}
