// The smallest gallery page there can be: it signs in, and shows each folder with the thumbnails of what is in it.
import assert from 'node:assert/strict';
import { openWindow, startBrowser } from '../browser.mjs';

export const page = `<!doctype html>
<meta charset="utf-8">
<title>Gallery</title>
<link rel="icon" href="data:,">
<style>
  body { font-family: sans-serif; margin: 2rem }
  section { display: flex; flex-wrap: wrap; gap: 1rem }
  figure { margin: 0; width: 256px }
</style>
<form><input name="email" type="email"> <input name="password" type="password"> <button>Sign in</button></form>
<h1></h1>
<main></main>
<script type="module">
  import PocketBase from './pocketbase.js';
  const pb = new PocketBase(location.origin);
  const ask = async (path, body) => {
    const headers = { 'content-type': 'application/json', authorization: pb.authStore.token };
    const answer = await fetch('/api/custom/' + path, { headers, ...(body && { method: 'POST', body: JSON.stringify(body) }) });
    if (!answer.ok) throw new Error((await answer.json()).message);
    return answer.json();
  };
  const add = (parent, kind, more) => parent.appendChild(Object.assign(document.createElement(kind), more));
  const show = (title, images) => {
    const main = document.querySelector('main');
    add(main, 'h2', { textContent: title });
    const section = add(main, 'section');
    for (const image of images) {
      const figure = add(section, 'figure');
      add(add(figure, 'a', { href: image.url }), 'img', { src: image.thumbnail_url, alt: image.prompt });
      add(figure, 'figcaption', { textContent: (image.title || image.prompt) + ', $' + image.cost });
    }
  };
  document.querySelector('form').onsubmit = async (event) => {
    event.preventDefault();
    const signedIn = await ask('auth/login', Object.fromEntries(new FormData(event.target)));
    pb.authStore.save(signedIn.token, signedIn.record);
    event.target.remove();
    const { collections } = await ask('collections');
    const path = ({ name, parent_id }) => (parent_id ? path(collections.find(({ id }) => id === parent_id)) + ' / ' : '') + name;
    const { images } = await ask('images?limit=100');
    for (const folder of collections) show(path(folder), images.filter(({ collection_id }) => collection_id === folder.id));
    show('elsewhere', images.filter(({ collection_id }) => !collection_id));
    const { total_spent: spent } = await ask('financial/stats');
    document.querySelector('h1').textContent = images.length + ' pictures, $' + spent;
  };
</script>`;

export async function look(t, { url, ann, pictures, costs }) {
  const browser = await startBrowser(t);
  const { page, trouble, shot } = await openWindow(browser, 'gallery');
  await page.goto(`${url}/gallery.html`);
  await page.locator('input[name=email]').fill(ann.email);
  await page.locator('input[name=password]').fill(ann.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  const [count, total] = [Object.values(pictures).flat().length, costs.reduce((sum, cost) => sum + Math.round(cost * 1e6), 0) / 1e6];
  await page.getByRole('heading', { name: `${count} pictures, $${total}` }).waitFor();
  await page.getByRole('heading', { name: 'Travels / Japan 日本 / Kyoto & Nara' }).waitFor();
  const sizes = await page.locator('img').evaluateAll((images) =>
    Promise.all(images.map((image) => image.decode().then(() => [image.naturalWidth, image.naturalHeight]))));
  assert.deepEqual(sizes, Array.from({ length: count }, () => [256, 256]));
  await shot('thumbnails');
  await page.getByAltText('a fox, watched').click();
  await page.waitForURL(/\/api\/files\/images\//);
  assert.deepEqual(await page.locator('img').evaluate((image) => [image.naturalWidth, image.naturalHeight]), [1024, 768]);
  await shot('one picture');
  assert.deepEqual(trouble, []);
}
