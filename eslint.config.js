import js from '@eslint/js';
import { createProjectGraphAsync } from '@nx/devkit';
import nx from '@nx/eslint-plugin';
import prettier from 'eslint-config-prettier';
import jsdoc from 'eslint-plugin-jsdoc';
import { globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';
import { DOORS, importRules } from './tools/lint/doors.js';
import { moduleBoundaries } from './tools/lint/layers.js';

// The boundary rule reads Nx's stored project graph and is silent where there is none (a clean clone): make it now. The
// one plugin is a file of this repository: in this process it takes half a second, in a process of its own many.
process.env.NX_ISOLATE_PLUGINS ??= 'false';
await createProjectGraphAsync({ exitOnError: false });

const TYPESCRIPT = ['{apps,libs}/*/**/*.ts', 'tools/**/*.ts', 'examples/**/*.ts', '*.ts'];
const SHIPPED = ['{apps,libs}/**/*.{ts,js}'];
const TESTS = ['**/*.spec.ts', 'libs/testing/src/**/*.ts'];
const CONFIG = ['apps/*/src/config.ts', 'libs/config/src/**/*.ts'];
const DOOR_FOLDERS = DOORS.flatMap(({ folders }) => folders);

const ENVIRONMENT = [
  {
    selector: "MemberExpression[object.name='process'][property.name='env']",
    message: 'Read the environment in config.ts only, once.',
  },
  {
    selector: "ImportDeclaration[source.value=/^(node:)?process$/] > ImportSpecifier[imported.name='env']",
    message: 'Read the environment in config.ts only, once.',
  },
];
const BARE_ERROR = {
  selector: "ThrowStatement > NewExpression[callee.name='Error']",
  message: 'Throw a ClipGenError: it has a code that a service can map.',
};
const NAMED_EXPORTS = [
  { selector: 'ExportAllDeclaration[exported=null]', message: 'Export by name, so that the public face can be read.' },
  { selector: 'ExportDefaultDeclaration', message: 'Export by name.' },
];

/** Import doors and forbidden syntax of one kind of file; later blocks replace earlier ones as a whole. */
function doors(folder, ...syntax) {
  const { restricted, syntax: dynamic } = importRules(folder);
  return {
    'no-restricted-imports': ['error', restricted],
    'no-restricted-syntax': ['error', ...dynamic, ...syntax],
  };
}

export default tseslint.config(
  globalIgnores(['**/node_modules', '**/generated', '.nx', 'dist', 'runs', 'data', 'models', 'out']),
  // A rule that is wrong for one line is wrong for the project: change it here.
  { linterOptions: { noInlineConfig: true } },
  js.configs.recommended,
  {
    files: ['**/*.js'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly', Buffer: 'readonly' } },
  },
  {
    files: TYPESCRIPT,
    extends: [tseslint.configs.recommended],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/consistent-type-exports': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafeCalls: [] }],
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/no-unnecessary-type-assertion': 'error',
      '@typescript-eslint/no-unsafe-argument': 'error',
      '@typescript-eslint/no-unsafe-assignment': 'error',
      '@typescript-eslint/no-unsafe-call': 'error',
      '@typescript-eslint/no-unsafe-member-access': 'error',
      '@typescript-eslint/no-unsafe-return': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/return-await': ['error', 'error-handling-correctness-only'],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      'no-undef': 'off', // the compiler's job
      eqeqeq: 'error',
      'no-console': 'error',
      'prefer-const': 'error',
    },
  },
  { plugins: { '@nx': nx } },
  {
    files: SHIPPED,
    rules: {
      '@nx/enforce-module-boundaries': ['error', moduleBoundaries({ spec: false })],
      'max-lines': ['error', 400], // past that a file usually holds two ideas
    },
  },
  {
    // What a library gives to others says what it is. Methods are left to judgement: their interface may say it.
    files: ['libs/*/src/**/*.ts'],
    ignores: ['**/*.spec.ts'],
    plugins: { jsdoc },
    rules: {
      'jsdoc/require-jsdoc': [
        'error',
        {
          publicOnly: true,
          enableFixer: false,
          require: { ClassDeclaration: true, FunctionDeclaration: true },
          contexts: [
            'TSInterfaceDeclaration',
            'TSTypeAliasDeclaration',
            'ExportNamedDeclaration > VariableDeclaration',
          ],
        },
      ],
    },
  },
  // Doors hold everywhere, tests and tools too; the rest is for code that ships.
  { files: ['**/*.{ts,js}'], rules: doors(undefined) },
  ...DOOR_FOLDERS.map((folder) => ({ files: [`${folder}/**/*.{ts,js}`], rules: doors(folder) })),
  {
    files: SHIPPED,
    ignores: [...TESTS, ...CONFIG],
    rules: doors(undefined, ...ENVIRONMENT, BARE_ERROR, ...NAMED_EXPORTS),
  },
  { files: CONFIG, rules: doors(undefined, BARE_ERROR, ...NAMED_EXPORTS) },
  ...DOOR_FOLDERS.filter((folder) => !folder.startsWith('tools/')).map((folder) => ({
    files: [`${folder}/**/*.{ts,js}`],
    ignores: [...TESTS, ...CONFIG],
    rules: doors(folder, ...ENVIRONMENT, BARE_ERROR, ...NAMED_EXPORTS),
  })),
  {
    files: TESTS,
    rules: {
      '@nx/enforce-module-boundaries': ['error', moduleBoundaries({ spec: true })],
      '@typescript-eslint/no-unsafe-assignment': 'off', // expect.objectContaining and friends are `any`
    },
  },
  { files: ['tools/**', 'apps/cli/**', 'apps/trainer/**', '**/codegen.ts'], rules: { 'no-console': 'off' } },
  prettier,
);
