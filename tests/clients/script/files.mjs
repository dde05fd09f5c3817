// What an application does with files: large uploads, ranges, conditional requests, thumbs, protected files.
import { createCipheriv } from 'node:crypto';
import { picture } from '../picture.mjs';
import { request } from '../raw.mjs';

const large = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(20_000_000));

export async function files({ saw, refused, user, guest }) {
  const post = await saw('a file of 20 MB is uploaded', () =>
    user.collection('posts').create({ title: 'Files', attachment: new File([large], 'Large File.bin'), cover: new File([picture()], 'cover.png', { type: 'image/png' }) }),
  );
  const address = guest.files.getURL(post, post.attachment);
  const whole = await saw('a file of 20 MB is downloaded', () => seen(address));
  if (whole.body.length !== large.length) throw new Error(`the file came back with ${whole.body.length} bytes`);
  for (const range of ['bytes=0-99', 'bytes=100-', 'bytes=-7', 'bytes=19999999-30000000']) await saw(range, () => seen(address, { headers: { range } }));
  for (const range of ['bytes=20000000-', 'bytes=5-2', 'lines=1-2']) await refused(416, range, () => seen(address, { headers: { range } }));
  await saw('two ranges at once', async () => {
    const answer = await request(address, { headers: { range: 'bytes=0-9,20-29' } });
    const boundary = /boundary=(\w+)/.exec(answer.header('content-type'))[1];
    return { status: answer.status, parts: answer.body.toString('latin1').replaceAll(boundary, '<boundary>') };
  });
  const modified = whole.header('last-modified');
  await saw('a file that has not changed', () => seen(address, { headers: { 'if-modified-since': modified } }));
  await saw('a file that has changed', () => seen(address, { headers: { 'if-modified-since': 'Sat, 01 Jan 2000 00:00:00 GMT' } }));
  await saw('a range of a file that has changed', () => seen(address, { headers: { range: 'bytes=0-4', 'if-range': 'Sat, 01 Jan 2000 00:00:00 GMT' } }));
  await saw('the head of a file', () => seen(address, { method: 'HEAD' }));
  await saw('a file to save', () => seen(`${address}?download=1`, { headers: { range: 'bytes=0-0' } }));

  const cover = guest.files.getURL(post, post.cover);
  for (const thumb of ['50x50', '60x0f', '100x100', '1x1']) await saw(`thumb ${thumb}`, () => seen(`${cover}?thumb=${thumb}`));
  await refused(404, 'a file that is not there', () => seen(`${cover}x`));
  await refused(400, 'a file of the wrong type is refused', () => user.collection('posts').update(post.id, { cover: new File(['text'], 'cover.png') }));
  await refused(400, 'a file that is too large is refused', () => user.collection('posts').update(post.id, { attachment: new File([large, large], 'x.bin') }));
  await saw('a file is removed', () => user.collection('posts').update(post.id, { attachment: null }));
}

export async function protectedFiles({ saw, refused, admin, user, guest }) {
  const row = await saw('a protected file is uploaded', () => admin.collection('papers').create({ paper: new File(['for members'], 'paper.txt', { type: 'text/plain' }) }));
  await refused(404, 'a protected file is not for everybody', () => seen(guest.files.getURL(row, row.paper)));
  const token = await saw('a file token', () => user.files.getToken());
  await saw('a protected file with a token', () => seen(user.files.getURL(row, row.paper, { token })));
  await refused(401, 'a guest gets no file token', () => guest.files.getToken());
}

async function seen(address, options) {
  const answer = await request(address, options);
  const header = (name) => answer.header(name);
  const kept = ['content-type', 'content-length', 'content-range', 'content-disposition', 'cache-control', 'last-modified', 'accept-ranges'];
  return { status: answer.status, body: answer.body, headers: Object.fromEntries(kept.map((name) => [name, header(name)])), header };
}
