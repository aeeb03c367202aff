import { readFile } from 'node:fs/promises';
import { GPT_PRESETS } from '@clip-gen/gpt';
import { PREVIEW_PRESETS, VQGAN_PRESETS } from '@clip-gen/vqgan';
import { describe, expect, it } from 'vitest';
import {
  clipTrainingSchema,
  gptTrainingSchema,
  parseTraining,
  previewTrainingSchema,
  vqganTrainingSchema,
} from './config.ts';
import { settingRows, settingsTable } from './settings-table.ts';

const SCHEMAS = {
  clip: clipTrainingSchema,
  vqgan: vqganTrainingSchema,
  gpt: gptTrainingSchema,
  preview: previewTrainingSchema,
};

describe('parseTraining', () => {
  it.each([
    [{ model: 'huge' }, 'model: Invalid option: expected one of "vit-b-32"|"vit-64"; got "huge"'],
    [{ model: { model: 'clip' } }, 'model.embeddingSize: Invalid input: expected number, received undefined'],
    [{ bogus: 1 }, 'Unrecognized key: "bogus"'],
    [{ augmentation: { tilt: 3 } }, 'augmentation: Unrecognized key: "tilt"; got {"tilt":3}'],
    [{ batchSize: 0 }, 'batchSize: Too small: expected number to be >=1; got 0'],
    [{ batchSize: '8' }, 'batchSize: Invalid input: expected number, received string; got "8"'],
    [
      { vocabularySize: 100 },
      'vocabularySize: Too small: expected 0 or at least 514, the bytes and two marks; got 100',
    ],
    [{ augmentation: { flip: 'ja' } }, 'augmentation.flip: Invalid input: expected boolean, received string; got "ja"'],
  ])('says in one line what is wrong with %j', (given, message) => {
    expect(() => parseTraining(clipTrainingSchema, given)).toThrow(`training settings: ${message}`);
  });

  it('knows no augmentation where pictures are seen through their tokens', () => {
    expect(() => parseTraining(gptTrainingSchema, { augmentation: { flip: true } })).toThrow(
      'training settings: Unrecognized key: "augmentation"',
    );
  });

  it.each(Object.keys(SCHEMAS) as (keyof typeof SCHEMAS)[])('fills in the defaults of %s', (stage) => {
    const settings: object = parseTraining(SCHEMAS[stage], {});
    for (const { name, default: value } of settingRows(SCHEMAS[stage])) {
      const found = name
        .split('.')
        .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], settings);
      // What belongs to an object that may be left out has a default within it alone.
      const isAbsent = value === '' || name.startsWith('localSteps.');
      expect(found, name).toEqual(isAbsent ? undefined : JSON.parse(value.slice(1, -1)));
    }
  });
});

describe('README', () => {
  it.each(Object.keys(SCHEMAS) as (keyof typeof SCHEMAS)[])(
    'has the settings of %s, as the schema has them',
    async (stage) => {
      const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
      const section = readme.split(`### ${stage}\n`)[1]!.split('\n#')[0]!;
      // Prettier pads the cells.
      const lines = section.split('\n').filter((line) => line.startsWith('|') && !line.startsWith('| ---'));
      const tidy = (line: string): string => line.replace(/\s*\|\s*/g, '|');
      const expected = settingsTable(SCHEMAS[stage])
        .split('\n')
        .filter((line) => !line.startsWith('| ---'));
      expect(lines.map(tidy)).toEqual(expected.map(tidy));
    },
  );

  it.each(Object.keys(SCHEMAS) as (keyof typeof SCHEMAS)[])('explains every setting of %s', (stage) => {
    for (const { name, meaning, values } of settingRows(SCHEMAS[stage])) {
      expect(meaning, name).not.toBe('');
      expect(values, name).not.toBe('');
    }
  });
});

describe('the recipes of the emoji model', () => {
  const recipe = async (stage: string): Promise<unknown> =>
    JSON.parse(await readFile(new URL(`../../../models/emoji/recipes/${stage}.json`, import.meta.url), 'utf8'));

  it.each(Object.keys(SCHEMAS) as (keyof typeof SCHEMAS)[])('%s can be trained', async (stage) => {
    expect(parseTraining(SCHEMAS[stage], await recipe(stage))).toMatchObject({ model: { model: stage } });
  });

  it('have the sizes that are the default', async () => {
    expect(await recipe('vqgan')).toMatchObject({ model: VQGAN_PRESETS['vqgan-f8-2048'] });
    expect(await recipe('gpt')).toMatchObject({ model: GPT_PRESETS['gpt-mini'] });
    expect(await recipe('preview')).toMatchObject({ model: PREVIEW_PRESETS['preview-f8-2048'] });
    expect(parseTraining(vqganTrainingSchema, {}).model).toBe('vqgan-f8-2048');
    expect(parseTraining(gptTrainingSchema, {}).model).toBe('gpt-mini');
  });
});
