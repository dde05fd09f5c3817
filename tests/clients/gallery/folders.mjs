// Folders: made, named, moved, filled, deleted with what is in them, restored.
import assert from 'node:assert/strict';

export const names = async (app, query = '') => (await app.asks('GET', `collections${query}`)).collections.map(({ name }) => name);
export const ids = async (app, path) => (await app.asks('GET', path)).images.map(({ id }) => id);

export async function makeFolders({ app, folders }) {
  const make = async (name, parent) => {
    const made = await app.asks('POST', 'collections/create', { name, ...(parent && { parent_id: parent }) });
    assert.deepEqual([made.name, made.parent_id], [name, parent ?? '']);
    return made.id;
  };
  folders.travels = await make('Travels');
  folders.japan = await make('Japan 日本', folders.travels);
  folders.kyoto = await make('Kyoto & Nara', folders.japan);
  folders.drafts = await make('Drafts');
  assert.deepEqual(await names(app), ['Drafts', 'Kyoto & Nara', 'Japan 日本', 'Travels'], 'newest first');
  const wrong = await app.refused(400, 'validation_error', 'POST', 'collections/create', { name: 'a/b' });
  assert.deepEqual(Object.keys(wrong.data), ['name']);
}

export async function arrange({ app, folders, pictures }) {
  const { japan, kyoto, drafts } = folders;
  const renamed = await app.asks('PATCH', `collections/${drafts}`, { name: 'Best of', private: true });
  assert.deepEqual([renamed.name, renamed.private], ['Best of', true]);
  await app.refused(409, 'conflict_error', 'POST', `collections/${japan}/move`, { parent_id: kyoto });
  assert.equal((await app.asks('POST', `collections/${kyoto}/move`, { parent_id: '' })).parent_id, '');
  assert.equal((await app.asks('POST', `collections/${kyoto}/move`, { parent_id: drafts })).parent_id, drafts);
  assert.equal((await app.asks('POST', `collections/${kyoto}/move`, { parent_id: japan })).parent_id, japan);

  const chosen = [pictures.temple[0], pictures.watched[0]];
  await app.refused(400, 'validation_error', 'POST', `collections/${drafts}/add-images`, { image_ids: [...chosen, 'abcdefghij01234'] });
  assert.deepEqual(await ids(app, `collections/${drafts}/images`), [], 'all or nothing');
  assert.deepEqual(await app.asks('POST', `collections/${drafts}/add-images`, { image_ids: chosen }), { success: true, added: 2 });
  assert.deepEqual((await ids(app, `collections/${drafts}/images`)).sort(), chosen.toSorted());
  assert.equal((await app.asks('GET', `collections/${kyoto}`)).image_count, 1, 'it left its folder');
  await app.asks('POST', `collections/${kyoto}/add-images`, { image_ids: [pictures.temple[0]] });
}

export async function trees({ app, folders, pictures }) {
  const { travels, japan, kyoto } = folders;
  const early = pictures.bridge[0];
  const before = { folders: await names(app), images: await ids(app, 'images') };
  await app.asks('DELETE', `images/${early}`);
  await app.asks('DELETE', `collections/${travels}`);
  assert.deepEqual(await names(app), ['Best of']);
  assert.deepEqual((await names(app, '?deleted=true')).toSorted(), ['Japan 日本', 'Kyoto & Nara', 'Travels']);
  const gone = await ids(app, 'images?deleted=true');
  for (const id of [...pictures.temple, early]) assert.ok(gone.includes(id));
  for (const id of [travels, japan, kyoto]) await app.refused(404, 'not_found', 'GET', `collections/${id}`);
  await app.refused(400, 'validation_error', 'POST', 'generate/image', { model: 'flux/schnell', prompt: 'nowhere', collection_id: kyoto });
  await app.refused(400, 'validation_error', 'POST', `collections/${folders.drafts}/move`, { parent_id: travels });

  assert.equal((await app.asks('POST', `collections/${travels}/restore`)).name, 'Travels');
  assert.deepEqual(await names(app), before.folders);
  assert.deepEqual(await ids(app, 'images'), before.images.filter((id) => id !== early), 'deleted on its own, before');
  assert.equal((await app.asks('POST', `images/${early}/restore`)).id, early);
  assert.deepEqual(await ids(app, 'images'), before.images);
  await app.refused(404, 'not_found', 'POST', `collections/${travels}/restore`);
}
