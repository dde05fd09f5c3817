// A real browser, and windows that keep whatever a developer would find red in their console.
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';
import { atEnd } from './harness.mjs';

const flags = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync';

/** Headless Chromium, closed when the test ends. */
export async function startBrowser(t) {
  const browser = await chromium.launch({ executablePath: chromiumBinary(), args: flags.split(' ') });
  atEnd(t, () => browser.close());
  return browser;
}

function chromiumBinary() {
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
  const places = process.env.PATH.split(delimiter).flatMap((folder) => names.map((name) => join(folder, name)));
  const found = [process.env.CHROMIUM_BIN, ...places].find((path) => path && existsSync(path));
  if (!found) throw new Error('no Chromium on PATH: install it (Debian: apt-get install chromium), or name it in CHROMIUM_BIN');
  return found;
}

/** A window of its own session. `trouble` fills with all that a developer would find red in its console. */
export async function openWindow(browser, name) {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage();
  page.setDefaultTimeout(15_000);
  const trouble = [];
  page.on('console', (message) => message.type() === 'error' && trouble.push(`${name} console: ${message.text()} ${message.location().url}`));
  page.on('pageerror', (error) => trouble.push(`${name} exception: ${error.message}`));
  page.on('response', (answer) => answer.status() >= 400 && trouble.push(`${name}: ${answer.status()} ${answer.url()}`));
  page.on('requestfailed', (request) => {
    // The SDK gives up a request when a newer one replaces it.
    const { errorText } = request.failure();
    if (errorText !== 'net::ERR_ABORTED') trouble.push(`${name}: ${errorText} ${request.url()}`);
  });
  const folder = process.env.SCREENSHOTS ?? tmpdir();
  const shot = (what) => page.screenshot({ path: join(folder, `${name} window, ${what}.png`) });
  return { page, trouble, shot };
}
