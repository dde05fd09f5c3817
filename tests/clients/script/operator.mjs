// What an operator does: settings, collections, health, logs, scheduled jobs, backups.
import { until } from '../harness.mjs';
import { request } from '../raw.mjs';

const anyone = { listRule: '', viewRule: '', createRule: '@request.auth.id != ""', updateRule: '@request.auth.id != ""' };
const autodates = [
  { type: 'autodate', name: 'created', onCreate: true },
  { type: 'autodate', name: 'updated', onCreate: true, onUpdate: true },
];

export async function prepare({ saw, admin, smtp }) {
  await saw('settings as they come', () => admin.settings.getAll());
  await saw('settings are changed', () =>
    admin.settings.update({
      meta: { appName: 'Clients', senderName: 'Clients', senderAddress: 'noreply@example.com' },
      smtp: { enabled: true, host: '127.0.0.1', port: smtp.port },
      batch: { enabled: true, maxRequests: 20 },
    }),
  );
  await saw('a test mail is sent', async () => {
    await admin.settings.testEmail('users', 'operator@example.com', 'verification');
    const { to, subject } = await smtp.next('operator@example.com');
    return { to, subject };
  });
  await saw('one-time passwords are allowed', () => admin.collections.update('users', { otp: { enabled: true, duration: 180, length: 8 } }));
  await saw('a collection is created', () =>
    admin.collections.create({ ...anyone, name: 'authors', type: 'base', fields: [{ type: 'text', name: 'name', required: true, min: 2, max: 100 }, ...autodates] }),
  );
  const authors = await admin.collections.getOne('authors');
  await saw('a collection with every kind of field is created', () => admin.collections.create(posts(authors.id)));
  await saw('a collection with protected files is created', () =>
    admin.collections.create({
      name: 'papers',
      type: 'base',
      listRule: '@request.auth.id != ""',
      viewRule: '@request.auth.id != ""',
      fields: [{ type: 'file', name: 'paper', maxSelect: 1, protected: true }],
    }),
  );
}

const posts = (authorsId) => ({
  ...anyone,
  name: 'posts',
  type: 'base',
  fields: [
    { type: 'text', name: 'title', required: true },
    { type: 'editor', name: 'text' },
    { type: 'number', name: 'views', onlyInt: true, min: 0 },
    { type: 'bool', name: 'published' },
    { type: 'select', name: 'tags', values: ['red', 'green', 'blue'], maxSelect: 3 },
    { type: 'date', name: 'day' },
    { type: 'json', name: 'meta' },
    { type: 'url', name: 'link' },
    { type: 'geoPoint', name: 'place' },
    { type: 'relation', name: 'author', collectionId: authorsId, maxSelect: 1 },
    { type: 'file', name: 'cover', maxSelect: 1, mimeTypes: ['image/png'], thumbs: ['50x50', '60x0f'] },
    { type: 'file', name: 'attachment', maxSelect: 1, maxSize: 30_000_000 },
    ...autodates,
  ],
});

export async function collections({ saw, refused, admin }) {
  await refused(400, 'a collection is refused with field errors', () => admin.collections.create({ name: 'no good!', type: 'base', listRule: 'nothing = 1' }));
  await saw('a collection is imported', () => admin.collections.import([{ name: 'imported', type: 'base', fields: [{ type: 'text', name: 'one' }] }]));
  await saw('a collection is viewed', () => admin.collections.getOne('imported'));
  await saw('a collection is renamed', () => admin.collections.update('imported', { name: 'renamed' }));
  await saw('collections are listed', () => admin.collections.getList(1, 50, { sort: 'name', fields: 'name,type,system' }));
  await saw('a view is created', () => admin.collections.create({ name: 'titles', type: 'view', viewQuery: 'SELECT id, title FROM posts' }));
  await saw('a view is read', () => admin.collection('titles').getFullList({ sort: 'title' }));
  await saw('a view is dropped', () => admin.collections.delete('titles'));
  await saw('a collection is truncated', () => admin.collections.truncate('renamed'));
  await saw('a collection is deleted', () => admin.collections.delete('renamed'));
  await refused(404, 'a deleted collection is gone', () => admin.collections.getOne('renamed'));
  await saw('scaffolds', () => admin.collections.getScaffolds());
}

export async function health({ saw, admin, guest }) {
  await saw('health for a guest', () => guest.health.check());
  await saw('health for a superuser', () => admin.health.check());
  await saw('scheduled jobs', () => admin.crons.getFullList());
  await saw('a scheduled job is run', () => admin.crons.run('__pbLogsCleanup__'));
  await saw('SQL is run', () => admin.sql.run('SELECT name FROM authors ORDER BY name'));
}

export async function logs({ saw, refused, admin, guest }) {
  // PocketBase writes its log a few seconds late.
  const marker = 'data.userAgent = "a client of its own"';
  await guest.send('/api/collections/authors/records?page=1&logged=%22%3Cyes%3E%22', { headers: { referer: 'http://example.com/page', 'user-agent': 'a client of its own' } });
  const line = await until('the log line of a request', async () => (await admin.logs.getList(1, 10, { filter: marker })).items[0]);
  await saw('a log line', () => ({ ...line, data: { ...line.data, execTime: typeof line.data.execTime } }));
  await saw('a log line is viewed', async () => (await admin.logs.getOne(line.id)).message);
  await saw('log statistics', async () => (await admin.logs.getStats({ filter: marker })).reduce((sum, hour) => sum + hour.total, 0));
  await refused(404, 'a log line that is not there', () => admin.logs.getOne('000000000000000'));
}

export async function backups({ saw, refused, admin, url }) {
  await saw('a backup is made', () => admin.backups.create('one.zip'));
  await saw('backups are listed', async () => (await admin.backups.getFullList()).map(({ key, size }) => ({ key, empty: size === 0 })));
  await saw('a backup is downloaded', async () => {
    const address = admin.backups.getDownloadURL(await admin.files.getToken(), 'one.zip');
    const answer = await request(address);
    const [{ size }] = await admin.backups.getFullList();
    const zip = new Blob([answer.body], { type: 'application/zip' });
    await admin.backups.upload({ file: new File([zip], 'two.zip') });
    return { status: answer.status, type: answer.header('content-type'), whole: answer.body.length === size, magic: answer.body.toString('latin1', 0, 2) };
  });
  await saw('an uploaded backup is listed', async () => (await admin.backups.getFullList()).map(({ key }) => key).sort());
  await refused(403, 'a backup is not for everybody', async () => {
    const answer = await request(`${url}/api/backups/one.zip?token=wrong`);
    return { status: answer.status, body: answer.json() };
  });
  await refused(400, 'a bad backup name is refused', () => admin.backups.create('../three.zip'));
  await saw('a backup is deleted', () => admin.backups.delete('one.zip'));
  await refused(400, 'a backup is deleted only once', () => admin.backups.delete('one.zip'));
}
