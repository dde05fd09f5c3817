// A real browser: an administrator creates a collection and adds a record with a file; a front end in a second window sees it come.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { openWindow, startBrowser } from './browser.mjs';
import { atEnd, startPocketBase, startSidecar, superuser } from './harness.mjs';
import { picture } from './picture.mjs';

// The admin UI itself does not listen to its records, so the second window is the smallest front end that does.
const frontEnd = `<!doctype html>
<title>Front end</title>
<link rel="icon" href="data:,">
<h1>nothing yet</h1>
<script type="module">
  import PocketBase from './pocketbase.js';
  const pb = new PocketBase(location.origin);
  await pb.collection('_superusers').authWithPassword('${superuser.email}', '${superuser.password}');
  await pb.collection('pictures').subscribe('*', ({ action, record }) => {
    const image = document.body.appendChild(new Image());
    image.alt = action + ' ' + record.caption;
    image.src = pb.files.getURL(record, record.picture, { thumb: '100x100' });
  });
  document.querySelector('h1').textContent = 'listening';
</script>`;
const publicFiles = {
  'front-end.html': frontEnd,
  'pocketbase.js': readFileSync(fileURLToPath(import.meta.resolve('pocketbase'))),
};

test('the admin UI and a live front end work through the sidecar', { timeout: 120_000 }, async (t) => {
  const pocketbase = await startPocketBase(t, { publicFiles });
  const { url } = await startSidecar(t, pocketbase);
  const browser = await startBrowser(t);
  const [first, second] = [await openWindow(browser, 'first'), await openWindow(browser, 'second')];
  // A browser keeps what went wrong to itself, so a failure here would otherwise say only that something never came.
  atEnd(t, () => [first, second].forEach(({ trouble }) => trouble.forEach((line) => t.diagnostic(line))));

  await t.test('an administrator signs in', async () => {
    await signIn(first, url);
    await first.shot('signed in');
  });

  await t.test('an administrator creates a collection', async () => {
    await createCollection(first);
    await first.shot('collection');
  });

  await t.test('a record with a file appears in a second window without a reload', async () => {
    await second.page.goto(`${url}/front-end.html`);
    await second.page.getByRole('heading', { name: 'listening' }).waitFor();
    await addRecord(first);
    await first.shot('record');
    const image = second.page.getByAltText('create A gradient');
    await image.waitFor();
    assert.deepEqual(await image.evaluate((image) => image.decode().then(() => [image.naturalWidth, image.naturalHeight])), [100, 100]);
    await second.shot('record');
  });

  await t.test('an administrator looks at logs and settings', async () => {
    const listed = first.page.waitForResponse((answer) => answer.url().startsWith(`${url}/api/logs?`));
    await first.page.getByRole('link', { name: 'Logs' }).click();
    assert.equal((await listed).status(), 200);
    await first.shot('logs');
    await first.page.getByRole('link', { name: 'Settings' }).click();
    await first.page.getByLabel('Application name').waitFor();
    await first.shot('settings');
  });

  await t.test('neither window had anything to complain about', () => {
    assert.deepEqual([first.trouble, second.trouble], [[], []]);
  });
});

async function signIn({ page }, url) {
  await page.goto(`${url}/_/`);
  await page.getByLabel('Email').fill(superuser.email);
  await page.locator('input[name=password]').fill(superuser.password);
  await page.getByRole('button', { name: 'Login' }).click();
  await page.getByRole('button', { name: 'New collection' }).waitFor();
}

async function createCollection({ page }) {
  await page.getByRole('button', { name: 'New collection' }).click();
  await page.locator('.modal-header input[name=name]').fill('pictures');
  for (const [kind, name] of [['Plain text', 'caption'], ['File', 'picture']]) {
    await page.getByRole('button', { name: 'New field' }).click();
    await page.getByRole('button', { name: kind, exact: true }).click();
    await page.locator(`.field-type-${kind === 'File' ? 'file' : 'text'} .prop-name input`).last().fill(name);
  }
  await page.getByRole('button', { name: 'Create', exact: true }).last().click();
  await page.getByText('Successfully created collection "pictures".').waitFor();
}

async function addRecord({ page }) {
  await page.locator('.new-record-btn').click();
  await page.locator('textarea[name=caption]').fill('A gradient');
  await page.locator('input[type=file]').setInputFiles({ name: 'gradient.png', mimeType: 'image/png', buffer: picture() });
  await page.getByRole('button', { name: 'Create', exact: true }).last().click();
  await page.locator('.records-table tbody tr', { hasText: 'A gradient' }).waitFor();
}
