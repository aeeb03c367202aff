import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import { readSettings } from './settings-file.ts';

describe('readSettings', () => {
  it('applies assignments over the file, in order', async () => {
    const file = join(await temporaryFolder(), 'settings.json');
    await writeFile(file, '{"epochs": 3, "augmentation": {"flip": true, "contrast": 0.1}}');
    const given = ['epochs=10', 'augmentation.contrast=0.2', 'model=vit-64', 'perceptual={"kind":"none"}', 'epochs=11'];
    expect(await readSettings(file, given)).toEqual({
      epochs: 11,
      augmentation: { flip: true, contrast: 0.2 },
      model: 'vit-64',
      perceptual: { kind: 'none' },
    });
    expect(await readSettings(undefined, ['adversarial.weight=0', 'adversarial.startEpoch=2'])).toEqual({
      adversarial: { weight: 0, startEpoch: 2 },
    });
    expect(await readSettings(undefined, ['model.vision=', 'model=a=b'])).toEqual({ model: 'a=b' });
  });

  it('reaches nothing but the settings', async () => {
    const settings = await readSettings(undefined, ['__proto__.polluted=1', 'a.constructor.prototype.polluted=1']);
    expect(Object.hasOwn(settings, '__proto__')).toBe(true);
    expect(Object.hasOwn({}, 'polluted') || 'polluted' in {}).toBe(false);
  });

  it.each(['epochs', '=3', ''])('refuses the assignment %j', async (assignment) => {
    await expect(readSettings(undefined, [assignment])).rejects.toMatchObject({
      code: 'invalid_argument',
      message: `--set must be name=value; got ${JSON.stringify(assignment)}`,
    });
  });

  it('refuses a file that is missing, no JSON, or no object', async () => {
    const folder = await temporaryFolder();
    await expect(readSettings(join(folder, 'none.json'), [])).rejects.toMatchObject({
      code: 'not_found',
      message: `--config ${join(folder, 'none.json')} does not exist`,
    });
    for (const [text, what] of [
      ['{"epochs": 3,', 'is not JSON'],
      ['[1]', 'must hold a JSON object'],
      ['null', 'must hold a JSON object'],
    ]) {
      const file = join(folder, 'bad.json');
      await writeFile(file, text!);
      await expect(readSettings(file, [])).rejects.toMatchObject({
        code: 'data_corrupt',
        message: expect.stringContaining(what!),
      });
    }
  });
});
