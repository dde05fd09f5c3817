// Starts PocketBase and the sidecar on free ports with fresh data, and stops both when the test that asked for them ends.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const superuser = { email: 'admin@example.com', password: 'correct horse battery' };

/**
 * A stock PocketBase with one superuser, with our migrations and hooks if `store` is set. `publicFiles` maps names to contents of what it
 * serves as static files.
 * `restart()` ends it as an operator would and starts it again on the same port and data.
 */
export async function startPocketBase(t, { publicFiles = {}, store = false } = {}) {
  const home = mkdtempSync(join(tmpdir(), 'generatio-clients-'));
  atEnd(t, () => rmSync(home, { recursive: true, force: true, maxRetries: 5 }));
  const folders = Object.fromEntries(['dir', 'migrationsDir', 'hooksDir', 'publicDir'].map((name) => [name, join(home, name)]));
  Object.values(folders).forEach((folder) => mkdirSync(folder));
  for (const [name, content] of Object.entries(publicFiles)) writeFileSync(join(folders.publicDir, name), content);

  if (store) Object.assign(folders, { migrationsDir: join(repository, 'pb_migrations'), hooksDir: join(repository, 'pb_hooks') });
  const flags = Object.entries(folders).map(([name, folder]) => `--${name}=${folder}`);
  flags.push('--hooksWatch=false', '--automigrate=false');
  execFileSync(pocketbaseBinary(), ['superuser', 'create', superuser.email, superuser.password, ...flags], { stdio: 'pipe' });

  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const serve = () => start('PocketBase', pocketbaseBinary(), ['serve', `--http=127.0.0.1:${port}`, ...flags], `${url}/api/health`);
  let running = await serve();
  atEnd(t, () => running.stop());
  return {
    url,
    stop: () => running.stop(),
    start: async () => void (running = await serve()),
    async restart() {
      await running.stop();
      running = await serve();
    },
  };
}

/** The sidecar in front of `pocketbase`, with whatever `flags` are wanted beside the two addresses. */
export async function startSidecar(t, pocketbase, ...flags) {
  const binary = process.env.GENERATIO_BIN;
  if (!binary) throw new Error('GENERATIO_BIN must name the generatio binary');
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const sidecar = await start('generatio', binary, ['serve', '--listen', `127.0.0.1:${port}`, '--metrics-listen', '127.0.0.1:0', '--pocketbase-url', pocketbase.url, ...flags], `${url}/api/health`);
  atEnd(t, () => sidecar.stop());
  return { url, port, pid: sidecar.pid, stop: sidecar.stop };
}

/** FAL's simulator, as its own `flags` will have it, with those that lead a sidecar to it. */
export async function startFal(t, ...flags) {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const fal = await start('fal-sim', process.env.GENERATIO_BIN, ['fal-sim', '--listen', `127.0.0.1:${port}`, ...flags], `${url}/_sim/clock`);
  atEnd(t, () => fal.stop());
  const parts = ['queue', 'rest', 'api'].flatMap((part) => [`--fal-${part}-url`, `${url}/${part}`]);
  return { url, flags: [...parts, '--fal-media-hosts', '127.0.0.1'] };
}

const endings = new WeakMap();

/** Has `end` run when the test ends, passed or failed. What began last ends first, where the test's own hooks run in the order they came. */
export function atEnd(t, end) {
  if (!endings.has(t)) {
    const ends = [];
    const endAll = async () => {
      try {
        await ends.pop()();
      } finally {
        if (ends.length) await endAll();
      }
    };
    endings.set(t, ends);
    t.after(endAll);
  }
  endings.get(t).push(end);
}

/** Waits for `condition` to give something truthy, and gives that back; `what` says in the error what never came. */
export async function until(what, condition, withinMs = 15_000) {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited ${withinMs} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A port for a listener. Below the range of outgoing connections, so that none of them can take it while its owner restarts. */
export async function freePort() {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const free = await new Promise((resolve) => {
      const probe = createServer()
        .once('error', () => resolve(false))
        .listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

/** What `/proc` says about a process's memory, in kilobytes. */
export function residentKilobytes(pid) {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);
}

const repository = join(dirname(fileURLToPath(import.meta.url)), '../..');

let pocketbase;
function pocketbaseBinary() {
  const script = join(repository, 'scripts/pocketbase');
  pocketbase ??= process.env.POCKETBASE_BIN || execFileSync(script, { encoding: 'utf8' }).trim();
  return pocketbase;
}

const alive = new Set();
const said = [];

/** `url` is answered with success as soon as the program is ready. */
async function start(name, binary, args, url) {
  // What the shell has set for another sidecar must not reach this one.
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('GENERATIO_')));
  const child = spawn(binary, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  const lines = [];
  child.stderr.setEncoding('utf8').on('data', (text) => lines.push(text));
  said.push({ name, lines });
  alive.add(child);
  const exited = new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(`exit ${code ?? signal}`));
  });
  let end;
  exited.then((how) => {
    end = how;
    alive.delete(child);
  });

  const stop = async () => {
    if (!end) child.kill('SIGTERM');
    const stuck = setTimeout(() => child.kill('SIGKILL'), 40_000);
    await exited;
    clearTimeout(stuck);
  };
  try {
    await until(`${name} to answer at ${url}`, async () => {
      if (end) throw new Error(`${name} ended before it answered: ${end}\n${lines.join('')}`);
      return fetch(url).then((answer) => answer.body.cancel().then(() => answer.ok), () => false);
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { pid: child.pid, stop };
}

process.once('exit', (code) => {
  for (const child of alive) child.kill('SIGKILL');
  if (code === 0 && !process.exitCode) return;
  for (const { name, lines } of said) {
    if (lines.length) writeSync(2, `--- ${name} said ---\n${lines.join('').slice(-20_000)}\n`);
  }
});
