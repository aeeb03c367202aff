/**
 * Runs everything that continuous integration runs, each to its end, then says what failed.
 *
 *     npm run all                       from the repository's root
 *     npm run all -- --reporter=json    arguments go to the test runner
 */
import { spawnSync } from 'node:child_process';

const steps = ['format:check', 'lint', 'types', 'codegen:check', 'test'];
const failed = steps.filter((step) => {
  console.log(`\n== npm run ${step}`);
  const rest = step === 'test' ? ['--', ...process.argv.slice(2)] : [];
  const { status } = spawnSync('npm', ['run', '--silent', step, ...rest], { stdio: 'inherit' });
  return status !== 0;
});
console.log(failed.length === 0 ? '\nall steps passed' : `\nfailed: ${failed.join(', ')}`);
process.exitCode = failed.length === 0 ? 0 : 1;
