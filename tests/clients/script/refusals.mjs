// What PocketBase refuses, and the preflights of browsers; last, because the rate limit stays.
import { request } from '../raw.mjs';

export async function refusals({ saw, refused, admin, user, guest, url }) {
  const asUser = { 'content-type': 'application/json', authorization: user.authStore.token };
  const create = (body, more) => raw(`${url}/api/collections/authors/records`, { method: 'POST', headers: { ...asUser, ...more }, body, withheld: !body });
  await refused(400, 'for a field', () => user.collection('authors').create({ name: 'x' }));
  await refused(400, 'for what is not JSON', () => create('{"name":'));
  await refused(400, 'for a name twice', () => create('{"name":"one","name":"two"}'));
  await refused(401, 'for a guest', () => guest.settings.getAll());
  await refused(401, 'for a token that is none', () => raw(`${url}/api/settings`, { headers: { authorization: 'Bearer nonsense' } }));
  await refused(403, 'for a user', () => user.settings.getAll());
  await refused(404, 'for a row', () => guest.collection('authors').getOne('000000000000000'));
  await refused(404, 'for a collection', () => guest.collection('nothing').getList());
  await refused(404, 'for a path', () => guest.send('/api/nothing', {}));
  await refused(404, 'for a method', () => guest.send('/api/health', { method: 'DELETE' }));
  await refused(404, 'for a slash too many', () => raw(`${url}/api/health/`));
  await refused(307, 'for two slashes', () => raw(url, { path: '//api/health' }));
  await refused(307, 'for dots', () => raw(url, { path: '/api/x/../health' }));
  await refused(413, 'for the announced length alone', () => create(undefined, { 'content-length': 100_000_000, expect: '100-continue' }));

  for (const path of ['/api/collections/posts/records', '/api/nothing', '/_/']) {
    const headers = { origin: 'https://app.example.com', 'access-control-request-method': 'PATCH', 'access-control-request-headers': 'authorization,x-own' };
    await saw(`preflight of ${path}`, () => raw(url + path, { method: 'OPTIONS', headers }));
  }
  await saw('an answer for another origin', () => raw(`${url}/api/health`, { headers: { origin: 'https://app.example.com' } }));

  await admin.settings.update({ rateLimits: { enabled: true, rules: [{ label: '/api/health', maxRequests: 2, duration: 600 }] } });
  await guest.health.check();
  await guest.health.check();
  await refused(429, 'for the third in a while', () => guest.health.check());
  await saw('never 429 for a superuser', () => admin.collection('authors').getList(1, 1, { fields: 'name', skipTotal: true }));
}

async function raw(url, options) {
  const { status, header, body } = await request(url, options);
  const cors = ['origin', 'methods', 'headers', 'credentials'].map((what) => `access-control-allow-${what}`);
  const kept = ['content-type', 'location', 'vary', 'access-control-max-age', ...cors];
  return { status, text: body.toString(), ...Object.fromEntries(kept.map((name) => [name, header(name)])) };
}
