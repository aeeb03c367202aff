import { ClipGenError } from '@clip-gen/errors';
import { describe, expect, expectTypeOf, it } from 'vitest';
import {
  address,
  asksForHelp,
  choice,
  defineSettings,
  describeSettings,
  flag,
  helpText,
  integer,
  list,
  nearestName,
  number,
  readSettings,
  settingsTable,
  text,
  type SettingsOf,
} from './index.ts';

const settings = defineSettings('sampler', {
  address: address({ default: '0.0.0.0:50052', description: 'Where to listen.' }),
  queueLimit: integer({ default: 32, min: 1, max: 4096, description: 'Requests that may wait.' }),
  share: number({ default: 0.5, min: -1, max: 1, description: 'A share.' }),
  drainMs: integer({ default: 10_000, min: 0, max: 600_000, unit: 'ms', description: 'Time for running calls.' }),
  peers: list({ default: [], of: address({ description: 'one' }), max: 3, description: 'Others.' }),
  logFormat: choice({ default: 'json', values: ['json', 'pretty'], description: 'How logs look: a|b.' }),
  verbose: flag({ default: false, description: 'Say more.' }),
  token: text({ default: '', secret: true, maxLength: 10, description: 'A secret.' }),
});

const read = (argv: string[], env: Record<string, string> = {}) => readSettings(settings, { argv, env });

function problems(argv: string[], env: Record<string, string> = {}): string {
  try {
    read(argv, env);
  } catch (error) {
    if (error instanceof ClipGenError && error.code === 'invalid_argument') return error.message;
    throw error;
  }
  return 'none';
}

describe('readSettings', () => {
  it('takes defaults, and freezes', () => {
    const values = read([]);
    expect(values).toEqual({
      address: '0.0.0.0:50052',
      queueLimit: 32,
      share: 0.5,
      drainMs: 10_000,
      peers: [],
      logFormat: 'json',
      verbose: false,
      token: '',
    });
    expect(Object.isFrozen(values)).toBe(true);
    expectTypeOf(values.queueLimit).toBeNumber();
    expectTypeOf(values.logFormat).toEqualTypeOf<'json' | 'pretty'>();
    expectTypeOf<SettingsOf<typeof settings>['peers']>().toEqualTypeOf<readonly string[]>();
  });

  it('lets flags beat the environment, which beats defaults', () => {
    const env = { CLIP_GEN_QUEUE_LIMIT: '5', CLIP_GEN_DRAIN_MS: '6', CLIP_GEN_LOG_FORMAT: '', PATH: '/bin' };
    expect(read(['--queue-limit', '7'], env)).toMatchObject({ queueLimit: 7, drainMs: 6, logFormat: 'json' });
  });

  it.each([
    [['--queue-limit=9'], { queueLimit: 9 }],
    [['--share', '-0.25'], { share: -0.25 }],
    [['--share=1e-3'], { share: 0.001 }],
    [['--verbose'], { verbose: true }],
    [['--no-verbose'], { verbose: false }],
    [['--verbose=false'], { verbose: false }],
    [['--peers', 'a:1, b:2'], { peers: ['a:1', 'b:2'] }],
    [['--peers', 'a:1', '--peers=[::1]:65535'], { peers: ['a:1', '[::1]:65535'] }],
    [['--peers='], { peers: [] }],
    [['--token=--x=y'], { token: '--x=y' }],
  ])('reads %j', (argv, expected) => {
    expect(read(argv)).toMatchObject(expected);
  });

  it.each([
    [['--queue-limit', '0'], '--queue-limit must be an integer in [1, 4096]; got "0"'],
    [['--queue-limit', '1.5'], 'must be an integer'],
    [['--queue-limit', '1e2'], 'must be an integer'],
    [['--queue-limit', '0x10'], 'must be an integer'],
    [['--share', 'NaN'], 'must be a number in [-1, 1]; got "NaN"'],
    [['--share', ''], 'must be a number'],
    [['--queue-limit'], '--queue-limit needs a value (1 to 4096)'],
    [['--queue-limit', '--verbose'], '--queue-limit needs a value'],
    [['--queue-limit', '1', '--queue-limit', '2'], '--queue-limit is given twice'],
    [['--verbose', '--no-verbose'], '--verbose is given twice'],
    [['--qeue-limit', '3'], '--qeue-limit is no flag; did you mean --queue-limit?'],
    [['--no-queue-limit'], '--no-queue-limit is no flag'],
    [['--no-verbose=true'], '--no-verbose is no flag'],
    [['--prompt', 'x'], '--prompt is no flag (sampler'],
    [['extra'], '"extra" is no flag: flags begin with --'],
    [['--log-format', 'xml'], '--log-format must be one of json, pretty; got "xml"'],
    [['--verbose=maybe'], '--verbose must be true or false; got "maybe"'],
    [['--peers', 'a:1,b:2,c:3,d:4'], '--peers must be 0 to 3 entries'],
    [['--peers', 'a:1,b'], '--peers must be host:port; got "b"'],
    [['--address', 'host:65536'], '--address must be host:port'],
    [['--address', 'a b:1'], '--address must be host:port'],
    [['--__proto__', 'x'], '--__proto__ is no flag'],
  ])('refuses %j', (argv, message) => {
    expect(problems(argv)).toContain(message);
  });

  it('names the environment where the value came from it', () => {
    expect(problems([], { CLIP_GEN_QUEUE_LIMIT: 'x' })).toMatch(/^CLIP_GEN_QUEUE_LIMIT must be an integer/);
  });

  it('refuses misspelt names of the environment, but not those of other programs', () => {
    const env = { CLIP_GEN_QUEUE_LIMITS: '3', CLIP_GEN_DEBUG: '1', OTHER: 'x' };
    expect(problems([], env)).toMatch(
      /^CLIP_GEN_QUEUE_LIMITS in the environment is no setting; did you mean CLIP_GEN_QUEUE_LIMIT\? \(sampler --help/,
    );
    const otherEnvironment = ['CLIP_GEN_QUEUE_LIMITS'];
    expect(readSettings(settings, { argv: [], env, otherEnvironment }).queueLimit).toBe(32);
  });

  it('tells everything that is wrong at once', () => {
    const message = problems(['--queue-limit', '0', '--wrong', '1', '--drain-ms'], { CLIP_GEN_SHARE: '7' });
    for (const name of ['--queue-limit', '--wrong', '--drain-ms', 'CLIP_GEN_SHARE']) expect(message).toContain(name);
    expect(message.split('; ').length).toBeGreaterThanOrEqual(4);
  });

  it('never prints a secret', () => {
    expect(problems(['--token', 'abcdefghijklm'])).toBe(
      '--token must be at most 10 characters; got "(hidden)" (sampler --help lists all settings)',
    );
  });

  it('demands what has no default', () => {
    const strict = defineSettings('x', { modelFolder: text({ description: 'Where the model is.' }) });
    const run = (argv: string[]) => readSettings(strict, { argv, env: {} });
    expect(() => run([])).toThrow('--model-folder or CLIP_GEN_MODEL_FOLDER must be given (text)');
    expect(() => run(['--model-folder'])).toThrow(
      /^--model-folder needs a value \(text\) \(x --help lists all settings\)$/,
    );
    expect(run(['--model-folder', 'm']).modelFolder).toBe('m');
  });
});

describe('defineSettings', () => {
  it('refuses a default out of its range, and keys that could not be told apart', () => {
    const limit = { min: 1, max: 2, description: '' };
    expect(() => defineSettings('x', { a: integer({ ...limit, default: 3 }) })).toThrow('setting a: the default');
    expect(() => defineSettings('x', { noA: integer({ ...limit, default: 1 }) })).toThrow('setting noA');
    expect(() => defineSettings('x', { node: integer({ ...limit, default: 1 }) })).not.toThrow();
    expect(() => defineSettings('x', { 'a-b': integer({ ...limit, default: 1 }) })).toThrow('setting a-b');
    expect(() => defineSettings('x', { help: integer({ ...limit, default: 1 }) })).toThrow('setting help');
  });
});

describe('what people read', () => {
  it('shows every setting in the help', () => {
    const lines = helpText(settings, 'Draws tokens.').split('\n');
    const squeezed = lines.map((line) => line.replace(/ +/g, ' '));
    expect(lines[0]).toBe('Draws tokens.');
    expect(lines[2]).toBe('usage: sampler [flags]');
    expect(squeezed).toContain(' --queue-limit <number> Requests that may wait. 1 to 4096; default 32');
    expect(squeezed).toContain(' --drain-ms <ms> Time for running calls. In ms. 0 to 600000; default 10000');
    expect(squeezed).toContain(' --verbose Say more. true, false; default false');
    expect(asksForHelp(['--queue-limit', '3', '--help'])).toBe(true);
    expect(asksForHelp(['-h'])).toBe(true);
    expect(asksForHelp([])).toBe(false);
  });

  it('makes a table whose rows have five cells, also with a bar in a text', () => {
    const lines = settingsTable(settings).split('\n');
    expect(lines).toHaveLength(2 + 8);
    expect(new Set(lines.map((line) => line.length)).size).toBe(1);
    for (const line of lines) expect(line.split(/(?<!\\)\|/)).toHaveLength(7);
    expect(lines.find((line) => line.includes('--queue-limit'))?.replace(/ +/g, ' ')).toBe(
      '| `--queue-limit` | `CLIP_GEN_QUEUE_LIMIT` | `32` | 1 to 4096 | Requests that may wait. |',
    );
  });

  it('describes values without secrets', () => {
    const values = read(['--token', 'hush', '--peers', 'a:1,b:2', '--verbose']);
    expect(describeSettings(settings, values)).toMatchObject({
      token: '(hidden)',
      peers: 'a:1,b:2',
      verbose: 'true',
      queueLimit: '32',
    });
    expect(describeSettings(settings, read([])).token).toBe('');
  });
});

it.each([
  ['--seeed', '--seed'],
  ['--sed', '--seed'],
  ['--promptt', '--prompt'],
  ['--zzz', undefined],
  ['', undefined],
])('finds what %j meant', (misspelt, expected) => {
  expect(nearestName(misspelt, ['--prompt', '--seed'])).toBe(expected);
});
