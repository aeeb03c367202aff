// Prints "N passed, N failed" of Vitest's JSON report. A file that could not be loaded counts as one failure.
import { readFileSync } from 'node:fs';

const report = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const unloaded = report.testResults.filter(
  ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
);
console.log(`${report.numPassedTests} passed, ${report.numFailedTests + unloaded.length} failed`);
