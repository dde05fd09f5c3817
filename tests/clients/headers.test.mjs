// Whole answers as they are on the wire: status, every header line, body, trailers, directly and through the sidecar.
import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import test from 'node:test';
import { startPocketBase, startSidecar, superuser } from './harness.mjs';
import { json, request } from './raw.mjs';

const publicFiles = { 'index.html': '<!doctype html><title>front end</title>', 'app.js': 'console.log(1);\n'.repeat(20_000), 'empty.txt': '' };
const jsonBody = { 'content-type': 'application/json' };

const requests = {
  'a small answer': { path: '/api/health' },
  'a small answer to HEAD': { path: '/api/health', method: 'HEAD' },
  'an answer to another origin': { path: '/api/health', headers: { origin: 'https://app.example.com' } },
  'a preflight': { path: '/api/collections', method: 'OPTIONS', headers: { origin: 'https://app.example.com', 'access-control-request-method': 'POST' } },
  'an answer of known length': { path: '/api/settings?fields=*&x=', asSuperuser: true },
  'a chunked answer': { path: '/api/collections?perPage=100', asSuperuser: true },
  'a static file': { path: '/app.js', headers: { 'accept-encoding': 'gzip' } },
  'a static file to HEAD': { path: '/app.js', method: 'HEAD' },
  'an empty file': { path: '/empty.txt' },
  'a part of a static file': { path: '/app.js', headers: { range: 'bytes=10-20' } },
  'two parts of a static file': { path: '/app.js', headers: { range: 'bytes=10-20,30-40' } },
  'a part that is not there': { path: '/app.js', headers: { range: 'bytes=9999999-' } },
  'a file that has not changed': { path: '/app.js', headers: { 'if-modified-since': 'Fri, 01 Jan 2100 00:00:00 GMT' } },
  'a path of the front end': { path: '/some/page?with=query' },
  'the admin UI': { path: '/_/' },
  'the admin UI compressed': { path: '/_/', headers: { 'accept-encoding': 'gzip, deflate, br' } },
  'the way to the admin UI': { path: '/_' },
  'a path to clean': { path: '//api//health' },
  'an unknown route': { path: '/api/nothing' },
  'an unknown route to HEAD': { path: '/api/nothing', method: 'HEAD' },
  'a refused caller': { path: '/api/settings' },
  'a refused body': { path: '/api/collections/users/records', method: 'POST', headers: jsonBody, body: '{"email":1}' },
  'a compressed body': { path: '/api/collections/users/records', method: 'POST', headers: { ...jsonBody, 'content-encoding': 'gzip' }, body: gzipSync('{}') },
  'a chunked body': { path: '/api/collections/users/records', method: 'POST', headers: { ...jsonBody, 'transfer-encoding': 'chunked' }, body: '{}' },
  'a body that is announced': { path: '/api/collections/users/records', method: 'POST', headers: { ...jsonBody, expect: '100-continue' }, body: '{}' },
  'no body at all': { path: '/api/collections/users/records', method: 'POST' },
  'an answer without content': { path: '/api/logs?x', method: 'DELETE', asSuperuser: true },
  'every escape in a path': { path: '/api/collections/%61uthors%2f..%2F%2e%2e%20%C3%BC/records/%F0%9F%99%82' },
  'characters that need no escape': { path: "/api/collections/a!$&'()*+,;=:@~-._|^{}/records?x=a|b^{c}[d]!$&'()*+,;:@/?~`\\" },
  'a connection that is closed': { path: '/api/health', headers: { connection: 'close' } },
  'many header lines of one name': { path: '/api/health', headers: { 'x-many': ['one', 'two', ''], cookie: ['a=b', 'c=d'] } },
};

test('every answer through the sidecar has the status, the header lines and the body that PocketBase gave', { timeout: 60_000 }, async (t) => {
  const pocketbase = await startPocketBase(t, { publicFiles });
  const sidecar = await startSidecar(t, pocketbase);
  const token = await signIn(pocketbase.url);
  for (const [name, { asSuperuser, ...options }] of Object.entries(requests)) {
    await t.test(name, { timeout: 10_000 }, async () => {
      const headers = { ...options.headers, ...(asSuperuser && { authorization: token }) };
      const [direct, through] = await Promise.all([pocketbase, sidecar].map(({ url }) => request(url, { ...options, headers })));
      assert.deepEqual(lines(through), lines(direct));
    });
  }
});

async function signIn(url) {
  const body = { identity: superuser.email, password: superuser.password };
  return (await json(`${url}/api/collections/_superusers/auth-with-password`, { method: 'POST', body })).token;
}

// HTTP gives no meaning to the order of names nor to their capitals; lines of one name keep their order.
function lines({ status, reason, headers, trailers, body }) {
  const boundary = /boundary=(\w+)/.exec(headers.find(([name]) => name.toLowerCase() === 'content-type')?.[1])?.[1];
  const masked = (text) => (boundary ? text.replaceAll(boundary, '<boundary>') : text);
  const shown = headers
    .map(([name, value]) => [name.toLowerCase(), value])
    .map(([name, value]) => ({ name, value: name === 'date' ? '<date>' : masked(value) }))
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  return { status: `${status} ${reason}`, headers: shown, trailers, body: content(masked(body.toString('latin1'))) };
}

// PocketBase gives the keys of one JSON object in another order each time.
function content(text) {
  try {
    return { length: text.length, json: JSON.parse(text) };
  } catch {
    return text;
  }
}
