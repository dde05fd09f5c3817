// Pictures: made with each model, watched while they are made, paged through, searched, fetched.
import assert from 'node:assert/strict';
import { picture } from '../front_end.mjs';
import { until } from '../harness.mjs';
import { ids } from './folders.mjs';

export async function makePictures(world) {
  const { app, folders, pictures } = world;
  const models = await app.asks('GET', 'generate/models');
  const prices = { 'flux/schnell': 0.003, 'hidream/hidream-i1-dev': 0.004, 'hidream/hidream-i1-fast': 0.003 };
  assert.deepEqual(Object.fromEntries(Object.values(models).map((model) => [model.name, model.cost_per_image])), prices);

  world.costs = [];
  const make = async (body, headers) => {
    const made = await app.asks('POST', 'generate/image', body, headers);
    assert.deepEqual([made.model, made.cost], [body.model, prices[body.model] * made.images.length], JSON.stringify(made));
    return made;
  };
  const keep = (name, made) => {
    pictures[name] = made.images.map(({ id }) => id);
    world.costs.push(made.cost);
  };
  const two = { num_images: 2, output_format: 'png', image_size: 'square' };
  keep('temple', await make({ model: 'flux/schnell', prompt: 'a temple in the rain', parameters: two, collection_id: folders.kyoto }));
  keep('bridge', await make({ model: 'hidream/hidream-i1-dev', prompt: 'a red bridge, 赤い橋', folder_id: folders.japan }));

  const once = { 'idempotency-key': 'a-double-click' };
  const body = { model: 'hidream/hidream-i1-fast', prompt: "a lighthouse, 100% 'real'", parameters: { seed: 7, sync_mode: true, steps: 3 } };
  const [first, second] = await Promise.all([make(body, once), make(body, once)]);
  assert.deepEqual(second, first, 'one job');
  assert.deepEqual(first.ignored_parameters.toSorted(), ['steps', 'sync_mode']);
  keep('lighthouse', first);
  await app.refused(409, 'conflict_error', 'POST', 'generate/image', { ...body, prompt: 'another' }, once);
  await watch(world, keep);
}

/** A job that the front end does not wait for: PocketBase's own realtime tells how it goes. */
async function watch({ app, pictures }, keep) {
  const wish = { model: 'flux/schnell', prompt: 'a fox, watched' };
  const begun = await app.tries('POST', 'generate/image', wish, { prefer: 'respond-async' });
  assert.equal(begun.status, 202);
  const job = begun.body.id;
  assert.equal(begun.headers.get('location'), `/api/custom/jobs/${job}`);
  const heard = [];
  await app.pb.collection('generations').subscribe(job, ({ record }) => heard.push(record));
  // What happened before the subscription stood is in the row.
  const state = (await app.asks('GET', `jobs/${job}`)).status;
  await until('the job to be done', () => state === 'completed' || heard.some(({ status }) => status === 'completed'));
  const done = await app.asks('GET', `jobs/${job}`);
  assert.deepEqual([done.status, done.cost, done.images.length, done.error], ['completed', 0.003, 1, null]);
  for (const record of heard) assert.deepEqual([record.id, record.user_id, 'idempotency_key' in record], [job, app.pb.authStore.record.id, false]);
  keep('watched', done);

  const stuck = await app.asks('POST', 'generate/image', { ...wish, prompt: 'never [[sim:stuck_progress]]' }, { prefer: 'respond-async' });
  await app.pb.collection('generations').subscribe(stuck.id, ({ record }) => heard.push(record));
  assert.equal((await app.asks('POST', `jobs/${stuck.id}/cancel`)).status, 'cancelled');
  await until('the cancellation to be heard', () => heard.some(({ id, status }) => id === stuck.id && status === 'cancelled'));
  await app.pb.collection('generations').unsubscribe();
  await app.refused(409, 'conflict_error', 'POST', `jobs/${stuck.id}/cancel`);
  const jobs = await app.asks('GET', 'jobs?status=completed&limit=2');
  assert.deepEqual([jobs.jobs[0].id, jobs.jobs.length, typeof jobs.next], [job, 2, 'string']);
  assert.equal((await app.asks('GET', `jobs?status=completed&limit=2&cursor=${jobs.next}`)).jobs.length, 2);
  assert.equal(Object.values(pictures).flat().length, 5);
}

export async function browse({ url, app, pictures, folders }) {
  const all = await ids(app, 'images');
  assert.deepEqual(all.toSorted(), Object.values(pictures).flat().sort());
  const seen = [];
  for (let cursor = ''; cursor !== null; ) {
    const page = await app.asks('GET', `images?limit=2${cursor && `&cursor=${cursor}`}`);
    seen.push(...page.images.map(({ id }) => id));
    cursor = page.next;
  }
  assert.deepEqual(seen, all, 'page by page the same');

  const find = (query) => ids(app, `images?${new URLSearchParams(query)}`);
  assert.deepEqual(await find({ q: 'LIGHTHOUSE' }), pictures.lighthouse);
  assert.deepEqual(await find({ q: "100% 'real'" }), pictures.lighthouse);
  assert.deepEqual(await find({ q: '赤い' }), pictures.bridge);
  assert.deepEqual(await find({ model: 'hidream/hidream-i1-dev' }), pictures.bridge);
  assert.deepEqual((await find({ collection_id: folders.kyoto, q: 'temple' })).toSorted(), pictures.temple.toSorted());
  assert.deepEqual((await ids(app, `collections/${folders.kyoto}/images`)).toSorted(), pictures.temple.toSorted());
  assert.equal((await app.asks('GET', `collections/${folders.kyoto}`)).image_count, 2);

  for (const image of (await app.asks('GET', 'images')).images) {
    const [whole, small] = [await picture(url, image.url), await picture(url, image.thumbnail_url)];
    assert.deepEqual([whole.status, small.status], [200, 200], image.url);
    assert.match(whole.type, /^image\/(png|jpeg)$/);
    assert.ok(small.bytes.length < whole.bytes.length, `${small.bytes.length} of ${whole.bytes.length} bytes`);
    assert.deepEqual(await app.asks('GET', `images/${image.id}`), image);
    const record = await app.pb.collection('images').getOne(image.id);
    assert.deepEqual((await picture(url, app.pb.files.getURL(record, record.file))).bytes, whole.bytes, "the SDK's own address of the same file");
  }
}
