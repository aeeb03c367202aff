import { ESLint } from 'eslint';
import { beforeAll, expect, it } from 'vitest';

const eslint = new ESLint({ cwd: new URL('..', import.meta.url).pathname });

/** Rules that `code` breaks when it stands in an existing file of the workspace. */
async function broken(filePath: string, code: string): Promise<string[]> {
  const [result] = await eslint.lintText(code, { filePath });
  expect(result?.fatalErrorCount, result?.messages[0]?.message).toBe(0);
  return [...new Set(result?.messages.map(({ ruleId }) => ruleId ?? 'none'))];
}

// The first file makes the project graph and the compiler's program: seconds, or minutes on a crowded machine.
beforeAll(async () => {
  await broken('libs/tensor/src/tensor.ts', 'export const one = 1;');
}, 600_000);

const BOUNDARY = '@nx/enforce-module-boundaries';
const SYNTAX = 'no-restricted-syntax';

// Each TypeScript file exists (the typed rules need it); the text is what somebody might write there.
it.each([
  [
    'base imports format',
    'libs/tensor/src/tensor.ts',
    "export { readSafetensors } from '@clip-gen/safetensors';",
    BOUNDARY,
  ],
  ['format imports engine', 'libs/image/src/index.ts', "export { Session } from '@clip-gen/runtime';", BOUNDARY],
  ['engine imports model', 'libs/graph/src/index.ts', "export { GPT } from '@clip-gen/gpt';", BOUNDARY],
  ['code imports testing', 'libs/tensor/src/tensor.ts', "export { expectClose } from '@clip-gen/testing';", BOUNDARY],
  ['a library imports an app', 'libs/graph/src/index.ts', "export { train } from '@clip-gen/trainer';", BOUNDARY],
  ['an app imports the command', 'apps/trainer/src/x.js', "export { main } from '@clip-gen/cli';", BOUNDARY],
  ['a cycle within a layer', 'libs/errors/src/x.js', "export { tensor } from '@clip-gen/tensor';", BOUNDARY],
  [
    'a relative path into another library',
    'libs/tensor/src/tensor.ts',
    "export * as e from '../../errors/src/index.ts';",
    BOUNDARY,
  ],
  ['a package that is not declared', 'libs/tensor/src/tensor.ts', "export { ZodError } from 'zod';", BOUNDARY],
  [
    'a deep import',
    'libs/tensor/src/tensor.ts',
    "export { x } from '@clip-gen/errors/src/index.ts';",
    'no-restricted-imports',
  ],
  [
    'ONNX Runtime past its door',
    'libs/graph/src/index.ts',
    "export { Tensor } from 'onnxruntime-node';",
    'no-restricted-imports',
  ],
  [
    'ONNX Runtime past its door, dynamically',
    'libs/graph/src/index.ts',
    "export const ort = await import('onnxruntime-node');",
    SYNTAX,
  ],
  ['koffi past its door', 'libs/optimizer/src/index.ts', "export { load } from 'koffi';", 'no-restricted-imports'],
  ['fastify past its door', 'libs/serving/src/index.ts', "export { fastify } from 'fastify';", 'no-restricted-imports'],
  ['sharp past its door', 'libs/graph/src/index.ts', "export { cache } from 'sharp';", 'no-restricted-imports'],
  ['the environment outside config.ts', 'libs/tensor/src/tensor.ts', 'export const home = process.env.HOME;', SYNTAX],
  ['a bare error', 'libs/tensor/src/tensor.ts', "export function f(): void { throw new Error('no'); }", SYNTAX],
  ['an anonymous re-export', 'libs/tensor/src/index.ts', "export * from './tensor.ts';", SYNTAX],
  [
    'any',
    'libs/tensor/src/tensor.ts',
    'export function f(x: any): void { void x; }',
    '@typescript-eslint/no-explicit-any',
  ],
  [
    'a floating promise',
    'libs/tensor/src/tensor.ts',
    'export function f(p: Promise<void>): void { p.then(); }',
    '@typescript-eslint/no-floating-promises',
  ],
  [
    'a promise as a condition',
    'libs/tensor/src/tensor.ts',
    'export const f = (p: Promise<boolean>): number => (p ? 1 : 0);',
    '@typescript-eslint/no-misused-promises',
  ],
  [
    'a value import of a type',
    'libs/tensor/src/tensor.ts',
    "import { DType } from './dtype.ts';\nexport const f = (d: DType): string => d;",
    '@typescript-eslint/consistent-type-imports',
  ],
  [
    'a switch with a hole',
    'libs/tensor/src/tensor.ts',
    "export function f(k: 'a' | 'b'): void { switch (k) { case 'a': } }",
    '@typescript-eslint/switch-exhaustiveness-check',
  ],
])('refuses %s', async (_, file, code, rule) => {
  expect(await broken(file, code)).toContain(rule);
});

it.each([
  'export function f(): void {}',
  'export class A {}',
  'export interface A { readonly b: number }',
  'export type A = number;',
  'export const one = 1;',
])('refuses without a doc comment: %s', async (code) => {
  expect(await broken('libs/tensor/src/tensor.ts', code)).toEqual(['jsdoc/require-jsdoc']);
});

it.each([
  ['the command imports an app', 'apps/cli/bin/x.js', "export { train } from '@clip-gen/trainer';"],
  ['format imports base', 'libs/safetensors/src/index.ts', "export { tensor } from '@clip-gen/tensor';"],
  ['a spec imports testing', 'libs/rng/src/philox.spec.ts', "export { expectClose } from '@clip-gen/testing';"],
  ['fastify in the gateway', 'apps/gateway/src/index.ts', "export { fastify } from 'fastify';"],
  ['sharp in its library', 'libs/image/src/index.ts', "export { cache } from 'sharp';"],
  [
    'a doc comment, and none on what stays inside',
    'libs/tensor/src/tensor.ts',
    'function inside(): number { return 1; }\n/** Two. */\nexport const two = inside() + 1;',
  ],
  ['no doc comment in an app', 'apps/trainer/src/streams.ts', 'export const one = 1;'],
  ['the environment in a spec', 'libs/rng/src/philox.spec.ts', 'export const home = process.env.HOME;'],
])('allows %s', async (_, file, code) => {
  expect(await broken(file, code)).toEqual([]);
});
