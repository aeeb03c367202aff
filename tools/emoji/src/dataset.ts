import { createHash, type Hash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { captionsOf, phrasesOf } from './captions.ts';
import { dominantColour } from './colour.ts';
import { readEmojiIndex } from './emoji-index.ts';
import { addIconNames, readCredit, readIcons, type Icon } from './icon-sets.ts';
import { readPackageJson } from './packages.ts';
import { render } from './render.ts';
import { FIRST_PROMPTS, SPLIT_RULE, splitOf } from './split.ts';
import { STYLES } from './styles.ts';

/** One line of `captions.jsonl`. */
export interface CaptionLine {
  /** Path below the split's folder. */
  readonly file: string;
  readonly captions: readonly string[];
  readonly style: string;
  readonly name: string;
}

/** How the data set is drawn, and who is told. */
export interface BuildOptions {
  /** Width and height of a picture in pixels. */
  readonly size: number;
  /** Icons drawn at once. */
  readonly jobs: number;
  readonly onProgress: (done: number, total: number) => void;
}

/** Names in this many styles or more are known well enough to be called common. */
const COMMON_STYLES = 3;
/** Marks a manifest as ours: only a folder with one is ever replaced. */
const TOOL = 'clip-gen-emoji';
const SPLITS = ['train', 'heldout'] as const;

/**
 * Make the whole data set in `out`. It is built beside `out` and moved there when complete, so `out` is never half done;
 * an earlier data set there is replaced.
 *
 * @returns the manifest, as written to `manifest.json`
 * @throws ClipGenError `failed_precondition` when `out` holds something that is not an emoji data set
 */
export async function buildDataset(out: string, options: BuildOptions): Promise<Record<string, unknown>> {
  refuseForeignFolder(out);
  const work = `${out}.partial`;
  rmSync(work, { recursive: true, force: true });
  const index = readEmojiIndex();
  addIconNames(index);
  const icons = STYLES.flatMap((style) => readIcons(style, index));
  for (const split of SPLITS) for (const { id } of STYLES) mkdirSync(join(work, split, id), { recursive: true });

  const lines: Record<(typeof SPLITS)[number], CaptionLine[]> = { train: [], heldout: [] };
  const hash = createHash('sha256');
  const files = fileNames(icons);
  const kept: Icon[] = [];
  let done = 0;
  for (let from = 0; from < icons.length; from += options.jobs) {
    const batch = icons.slice(from, from + options.jobs);
    const pictures = await Promise.all(batch.map((icon) => renderNamed(icon, options.size)));
    for (const [at, icon] of batch.entries()) {
      done += 1;
      const picture = pictures[at];
      const file = files[from + at];
      if (picture === undefined || file === undefined || picture.blank) continue;
      kept.push(icon);
      const split = splitOf(icon.name);
      await writeFile(join(work, split, file), picture.png);
      addToHash(hash, `${split}/${file}`, picture.png);
      const captions = captionsOf({ ...icon, colour: dominantColour(picture.rgba) });
      lines[split].push({ file, captions, style: icon.style.id, name: icon.name });
    }
    options.onProgress(done, icons.length);
  }

  for (const split of SPLITS) {
    const text = lines[split].map((line) => `${JSON.stringify(line)}\n`).join('');
    await writeFile(join(work, split, 'captions.jsonl'), text);
    addToHash(hash, `${split}/captions.jsonl`, text);
  }
  await writeJson(join(work, 'names.json'), namesOf(kept, 'train'));
  await writeJson(join(work, 'heldout-names.json'), namesOf(kept, 'heldout'));
  const manifest = manifestOf(kept, lines, options.size, hash.digest('hex'));
  await writeJson(join(work, 'manifest.json'), manifest);
  rmSync(out, { recursive: true, force: true });
  renameSync(work, out);
  return manifest;
}

function refuseForeignFolder(out: string): void {
  if (!existsSync(out) || isOwnDataset(out)) return;
  if (statSync(out).isDirectory() && readdirSync(out).length === 0) return;
  throw new ClipGenError(
    'failed_precondition',
    `--out ${JSON.stringify(out)} holds something that is not an emoji data set; name a new folder`,
  );
}

function isOwnDataset(out: string): boolean {
  try {
    const manifest = JSON.parse(readFileSync(join(out, 'manifest.json'), 'utf8')) as { tool?: { name?: unknown } };
    return manifest.tool?.name === TOOL;
  } catch {
    return false;
  }
}

async function renderNamed(icon: Icon, size: number) {
  try {
    return await render(icon, size);
  } catch (cause) {
    throw new ClipGenError('data_corrupt', `${icon.style.package}: icon of "${icon.label}" cannot be drawn`, { cause });
  }
}

/** `<style>/<name>.png`; a second drawing of one name in one style is `<name>-2.png`. */
function fileNames(icons: readonly Icon[]): string[] {
  const uses = new Map<string, number>();
  return icons.map((icon) => {
    const stem = `${icon.style.id}/${icon.name}`;
    const use = (uses.get(stem) ?? 0) + 1;
    uses.set(stem, use);
    return use === 1 ? `${stem}.png` : `${stem}-${use}.png`;
  });
}

/** The names of one split for evaluation: a natural prompt each, and whether it is a common emoji. */
function namesOf(icons: readonly Icon[], split: 'train' | 'heldout') {
  const byName = new Map<string, { icon: Icon; styles: Set<string> }>();
  for (const icon of icons) {
    if (splitOf(icon.name) !== split) continue;
    const entry = byName.get(icon.name) ?? { icon, styles: new Set<string>() };
    byName.set(icon.name, { icon: entry.icon, styles: entry.styles.add(icon.style.id) });
  }
  return [...byName.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { icon, styles }]) => ({
      name,
      prompt: phrasesOf(icon.label, icon.emoji)[0],
      emoji: icon.emoji?.emoji ?? null,
      group: icon.emoji?.group ?? null,
      styles: [...styles],
      common: icon.emoji !== undefined && icon.emoji.group !== 'component' && styles.size >= COMMON_STYLES,
    }));
}

function manifestOf(
  icons: readonly Icon[],
  lines: Record<(typeof SPLITS)[number], CaptionLine[]>,
  size: number,
  digest: string,
): Record<string, unknown> {
  const all = [...lines.train, ...lines.heldout];
  const version = readPackageJson<{ version: string }>('..', 'package.json').version;
  return {
    tool: {
      name: TOOL,
      version,
      sharp: readPackageJson<{ version: string }>('sharp', 'package.json').version,
    },
    size,
    background: '#ffffff',
    digest: {
      algorithm: 'sha256',
      of: 'path, length and bytes of every picture, then of captions.jsonl',
      value: digest,
    },
    counts: {
      pictures: all.length,
      names: new Set(icons.map((icon) => icon.name)).size,
      captions: all.reduce((sum, line) => sum + line.captions.length, 0),
      train: { pictures: lines.train.length, names: new Set(lines.train.map((line) => line.name)).size },
      heldout: { pictures: lines.heldout.length, names: new Set(lines.heldout.map((line) => line.name)).size },
    },
    split: SPLIT_RULE,
    leftOut:
      'flags, skin tones, trade marks, named people, icons hidden by their set, second copies of one drawing, white drawings without an outline',
    styles: STYLES.map((style) => ({
      style: style.id,
      ...readCredit(style),
      changes: `rendered at ${size}×${size} pixels on white`,
      pictures: all.filter((line) => line.style === style.id).length,
    })),
    words: {
      package: 'emojibase-data',
      version: readPackageJson<{ version: string }>('emojibase-data', 'package.json').version,
      license: readPackageJson<{ license: string }>('emojibase-data', 'package.json').license,
    },
    firstPrompts: FIRST_PROMPTS.map(({ prompt, names }) => ({
      prompt,
      names,
      pictures: lines.train.filter((line) => line.captions.includes(prompt)).map((line) => line.file),
    })),
  };
}

function addToHash(hash: Hash, path: string, content: Buffer | string): void {
  hash.update(`${path}\n${Buffer.byteLength(content)}\n`).update(content);
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFile(path, `${JSON.stringify(value, null, 2)}\n`);
}
