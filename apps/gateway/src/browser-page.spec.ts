import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startQuietGateway, startTestGateway, until, type TestGateway } from './test-gateway.ts';

// The page as people see it, in a real browser before a real gateway.

const KEY = 'key-of-the-spec';
const executablePath = [process.env['CHROMIUM_PATH'] ?? '', '/usr/bin/chromium'].find((path) => existsSync(path));

describe.skipIf(!executablePath)('web page (needs Chromium: $CHROMIUM_PATH or /usr/bin/chromium)', () => {
  let browser: Browser;
  let page: Page;
  let door: TestGateway;
  /** Errors of the page's script and policy, and requests that leave the server. */
  let faults: string[];

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
    door = await startTestGateway();
  });
  afterAll(async () => {
    await browser?.close();
    await door?.close();
  });
  beforeEach(async () => {
    faults = [];
    page = await open(door.url);
  });
  afterEach(async () => {
    for (const { switches } of door.samplers) switches.before = () => undefined;
    await page.close();
    expect(faults).toEqual([]);
  });

  async function open(url: string): Promise<Page> {
    const opened = await browser.newPage({ viewport: { width: 360, height: 740 } });
    opened.setDefaultTimeout(30_000);
    opened.on('pageerror', ({ message }) => faults.push(message));
    opened.on('console', (message) => {
      const refused = message.text().startsWith('Failed to load resource'); // by the server, as some specs want it
      if (message.type() === 'error' && !refused) faults.push(message.text());
    });
    opened.on('request', (request) => {
      const { origin, protocol } = new URL(request.url());
      if (origin !== new URL(url).origin && protocol !== 'data:') faults.push(request.url());
    });
    await opened.goto(url);
    return opened;
  }

  const ask = async (prompt: string): Promise<void> => {
    await page.fill('#prompt', prompt);
    await page.keyboard.press('Enter');
  };
  const finished = (): Promise<void> => page.locator('.run:first-child[aria-busy="false"]').waitFor();
  const digest = (text: string): string => createHash('sha256').update(text).digest('hex');
  /** Of the pictures of the latest run. */
  const digests = async (): Promise<string[]> => {
    const images = page.locator('.run:first-child img');
    return (await images.evaluateAll((all) => all.map((img) => img.getAttribute('src') ?? ''))).map(digest);
  };

  it('shows progress and an unfinished picture, then the best first, with their scores', async () => {
    let letOn = (): void => undefined;
    const shown = new Promise<void>((resolve) => (letOn = resolve));
    door.samplers[0]!.switches.before = (position) => (position < 10 ? undefined : shown);
    await page.locator('#prompt:focus').waitFor(); // by itself; a moment after the page is loaded
    await page.keyboard.type('a red apple');
    await page.keyboard.press('Enter');
    await page.locator('.waiting img').waitFor();
    expect(await page.locator('#go').textContent()).toBe('Stop');
    await page.locator('.run p:has-text("% drawn")').waitFor();
    expect(Number(await page.locator('progress').evaluate((bar: HTMLProgressElement) => bar.value))).toBeGreaterThan(0);
    letOn();
    await finished();
    expect(await page.locator('.waiting, progress').count()).toBe(0);
    expect(await page.locator('.best').count()).toBe(1);
    const scores = (await page.locator('figcaption span').allTextContents()).map((text) => Number(text.slice(6)));
    expect(scores).toHaveLength(4);
    expect(scores).toEqual([...scores].sort((a, b) => b - a));
    const sides = await page.locator('.run img').evaluateAll((all) => {
      return all.map((img) => (img instanceof HTMLImageElement ? img.naturalWidth : 0));
    });
    expect(sides).toEqual([256, 256, 256, 256]);
    const file = await page.locator('a:has-text("Save")').first().getAttribute('download');
    expect(file).toMatch(/^a-red-apple-\d+-\d+\.png$/);
  });

  it('draws the same pictures again with their seed', async () => {
    await ask('a red apple');
    await finished();
    const before = await digests();
    await page.click('text=use it again');
    await page.keyboard.press('Enter');
    await page.locator('.run >> nth=1').waitFor();
    await finished();
    expect(await digests()).toEqual(before);

    // The address brings the form to somebody else.
    const other = await open(page.url());
    expect(await other.inputValue('#prompt')).toBe('a red apple');
    expect(await other.inputValue('#seed')).toBe(await page.inputValue('#seed'));
    await other.close();
  });

  it('offers the decoders, and who makes the pictures on the way', async () => {
    const { switches } = door.samplers[0]!;
    const choose = async (id: string, label: string): Promise<void> => {
      await page.selectOption(`#${id}`, { label });
    };
    /** What is seen on the way, and the pictures; the same seed each time. */
    const draw = async (): Promise<{ first: string; all: string[] }> => {
      let letOn = (): void => undefined;
      const shown = new Promise<void>((resolve) => (letOn = resolve));
      switches.before = (position) => (position < 7 ? undefined : shown); // the first partial picture is due at 4
      await page.fill('#seed', '7');
      await ask('a red apple');
      await page.locator('.waiting img').waitFor();
      const first = digest((await page.getAttribute('.waiting img', 'src')) ?? '');
      letOn();
      await finished();
      return { first, all: await digests() };
    };
    await page.click('summary');
    expect(await page.locator('#decoder option').allTextContents()).toEqual(['vqgan', 'preview']);
    const ways = ['automatic', 'vqgan', 'preview', 'nothing'];
    expect(await page.locator('#partial_decoder option').allTextContents()).toEqual(ways);
    const usual = await draw();
    await choose('partial_decoder', 'vqgan');
    const slow = await draw();
    expect(slow.first).not.toBe(usual.first);
    expect(slow.all).toEqual(usual.all);
    await choose('partial_decoder', 'automatic');
    await choose('decoder', 'preview');
    const quick = await draw();
    expect(quick.first).toBe(usual.first);
    expect(quick.all).not.toEqual(usual.all);

    const other = await open(page.url());
    await other.locator('#decoder option').nth(1).waitFor({ state: 'attached' });
    expect(await other.inputValue('#decoder')).toBe('preview');
    await other.close();

    switches.before = () => undefined;
    await choose('partial_decoder', 'nothing');
    const calls = door.preview.switches.calls;
    await ask('a red apple');
    await finished();
    expect(await digests()).toEqual(quick.all);
    expect(door.preview.switches.calls).toBe(calls + 1); // the pictures themselves
  });

  it('offers no choice where there is one decoder', async () => {
    const [embedding, sampler] = [door.embedding.address, door.samplers[0]!.address];
    const only = `vqgan=${door.decoders[0]!.address}`;
    const { gateway } = await startQuietGateway({ embedding, sampler, decoders: only });
    try {
      await page.close();
      page = await open(`http://127.0.0.1:${gateway.httpPort}`);
      await page.locator('#decoder option').waitFor({ state: 'attached' });
      await page.click('summary');
      expect(await page.locator('#size').isVisible()).toBe(true);
      expect(await page.locator('#decoder').isVisible()).toBe(false);
      expect(await page.locator('#partial_decoder').isVisible()).toBe(false);
    } finally {
      await gateway.close();
    }
  });

  it('fits a phone, in both colour schemes', async () => {
    await ask('a red apple');
    await finished();
    await page.click('summary');
    const grounds = new Set<string>();
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      const { ground, overflow } = await page.evaluate(() => ({
        ground: getComputedStyle(document.body).backgroundColor,
        overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      }));
      grounds.add(ground);
      expect(overflow).toBe(0);
    }
    expect(grounds.size).toBe(2);
  });

  it('enlarges a picture and steps through the others by keyboard', async () => {
    await ask('a red apple');
    await finished();
    const all = await digests();
    await page.locator('.frame').nth(1).focus();
    await page.keyboard.press('Enter');
    const large = async (): Promise<string> => digest((await page.getAttribute('#large img', 'src')) ?? '');
    expect(await large()).toBe(all[1]);
    await page.keyboard.press('ArrowRight');
    expect(await large()).toBe(all[2]);
    for (let i = 0; i < 3; i++) await page.keyboard.press('ArrowLeft');
    expect(await large()).toBe(all[3]);
    await page.keyboard.press('Escape');
    expect(await page.locator('#large').isVisible()).toBe(false);
  });

  it('stops on Escape, and so do the services', async () => {
    const { switches } = door.samplers[0]!;
    const before = switches.cancelled;
    switches.before = () => new Promise((resolve) => setTimeout(resolve, 50));
    await ask('a red apple');
    await until('tokens are drawn', () => switches.running > 0);
    await page.keyboard.press('Escape');
    await page.locator('#go:has-text("Draw")').waitFor();
    expect(await page.locator('.run').count()).toBe(0);
    expect(await page.locator('#trouble').isVisible()).toBe(false);
    await until('the sampler knows', () => switches.cancelled === before + 1);
  });

  it('says what is wrong, keeps what was drawn and leads to the field', async () => {
    await ask('a red apple');
    await finished();
    await ask('apple '.repeat(40));
    await page.locator('#trouble').waitFor();
    expect(await page.locator('#trouble span').textContent()).toMatch(/^That did not work: prompt must be at most 20/);
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('prompt');
    expect(await page.locator('.run').count()).toBe(1);
    await ask('a pear');
    await page.locator('.run >> nth=1').waitFor();
    expect(await page.locator('#trouble').isVisible()).toBe(false);
    await finished();
  });

  it('asks for the API key where one is wanted, and for patience while services are away', async () => {
    const locked = await startTestGateway([`--api-keys=${KEY}`, '--attempts=1']);
    try {
      await page.close();
      page = await open(locked.url);
      await ask('a red apple');
      await page.locator('#trouble:has-text("wants an API key")').waitFor();
      expect(await page.evaluate(() => document.activeElement?.id)).toBe('key');
      await page.keyboard.type(KEY);
      await page.keyboard.press('Enter');
      await finished();
      expect(page.url()).not.toContain(KEY);

      await locked.samplers[0]!.server.close();
      await page.reload();
      await page.locator('#loading:has-text("sampler")').waitFor();
    } finally {
      await locked.close();
    }
  });
});
