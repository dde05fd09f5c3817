// Writes down what a script saw, so that two runs against two fresh instances can be compared.
import { createHash } from 'node:crypto';
import { inspect, isDeepStrictEqual } from 'node:util';
import { ClientResponseError } from 'pocketbase';

/**
 * A list of steps. `saw(name, action)` runs the action, writes down what it gave, and hands it on.
 * `refused(status, name, action)` does so for an action that PocketBase must refuse with that status.
 */
export function transcript() {
  const steps = [];
  const step = async (expected, name, action) => {
    const outcome = await Promise.resolve().then(action).catch((error) => error);
    const refusal = outcome instanceof ClientResponseError;
    const status = refusal || Number.isInteger(outcome?.status) ? outcome.status : 200;
    if ((outcome instanceof Error && !refusal) || (expected ? status !== expected : status >= 400 || status === 0)) {
      throw new Error(`step "${name}" gave ${inspect(outcome)}`);
    }
    steps.push({ name, result: plain(refusal ? { status, response: outcome.response, url: outcome.url } : outcome) });
    return outcome;
  };
  return { steps, saw: (name, action) => step(undefined, name, action), refused: step };
}

/** Where two runs differ, one line each: the step, the path in its result, both values. Empty when nobody could tell them apart. */
export function differences(direct, through) {
  const [a, b] = [masked(direct), masked(through)];
  const lines = a.flatMap((step, i) => unlike(step.name, step, b[i]));
  if (a.length !== b.length) lines.push(`${a.length} steps and ${b.length} steps`);
  return lines;
}

function unlike(path, a, b) {
  if (isDeepStrictEqual(a, b)) return [];
  const nested = [a, b].every((value) => value !== null && typeof value === 'object');
  if (!nested) return [`${path}: ${JSON.stringify(a)} directly, ${JSON.stringify(b)} through the sidecar`];
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((key) => unlike(`${path} / ${key}`, a[key], b[key]));
}

// Keys are sorted because PocketBase gives them in any order; a body is compared by its hash.
function plain(value) {
  if (value instanceof Uint8Array) return { bytes: value.length, sha256: createHash('sha256').update(value).digest('hex') };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().filter((key) => typeof value[key] !== 'function').map((key) => [key, plain(value[key])]));
}

// What differs from run to run is replaced by a name for it. An id keeps its number, so that a mixed-up id still shows.
function masked(steps) {
  const ids = new Map();
  const numbered = (id) => ids.get(id) ?? ids.set(id, `<id ${ids.size + 1}>`).get(id);
  const text = JSON.stringify(steps)
    .replace(/eyJ[\w-]+\.([\w-]+)\.[\w-]+/g, (_, claims) => `<token ${claimNames(claims)}>`)
    .replace(/\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z/g, '<time>')
    .replace(/(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} [\d:]{8} GMT/g, '<date>')
    .replace(/127\.0\.0\.1:\d+/g, '<origin>')
    .replace(/generatio-clients-\w{6}/g, '<folder>')
    .replace(/"execTime":\d+/g, '"execTime":"<time>"')
    .replace(/"port":\d+/g, '"port":"<port>"')
    .replace(/(_[a-z0-9]{10})+(?=\.[a-z]{3})/g, '_<random>')
    .replace(/_clone_\w{4}/g, '_clone_<random>')
    .replace(/(?<=idx_\w+_)[A-Za-z0-9]{10}\b/g, '<random>')
    .replace(/(?<![A-Za-z0-9])[A-Za-z0-9]{40}(?![A-Za-z0-9])/g, '<client id>')
    .replace(/(?<![A-Za-z0-9])[a-z0-9]{15}(?![A-Za-z0-9])/g, numbered);
  return JSON.parse(text);
}

function claimNames(claims) {
  const { type, refreshable, collectionId } = JSON.parse(Buffer.from(claims, 'base64url'));
  return [type, refreshable ? 'refreshable' : 'final', collectionId].join(' ');
}
