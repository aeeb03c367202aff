/**
 * Whether the serving benches' own clients are fast enough to be believed: `GET /healthz` of a gateway by their closed loop
 * over `fetch`, in turns with autocannon as a process of its own. What the loop carries is the most that it can measure.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closedLoop, percentile, rate } from './closed-loop.ts';
import { machine, median, printTable, saveFigures } from './measure.ts';
import { startGateway, startModelless } from './server-process.ts';
import { count, servingOptions } from './serving-options.ts';

const USAGE = `The benches' HTTP clients beside autocannon, on GET /healthz.

  npm install --prefix /tmp/autocannon autocannon
  node --import tsx tools/bench/http-generator.ts [--autocannon /tmp/autocannon/node_modules/autocannon/autocannon.js]
      [--clients 1,16,64] [--seconds 3] [--rounds 3] [--quick] [--json FILE]

Needs no model; --model has no effect. Without --autocannon ours runs alone.`;

const options = servingOptions(USAGE, {
  autocannon: { type: 'string' },
  clients: { type: 'string', default: '1,16,64' },
  seconds: { type: 'string', default: '3' },
  rounds: { type: 'string', default: '3' },
});
const seconds = options.quick ? 1 : count('seconds', options.seconds);
const rounds = options.quick ? 1 : count('rounds', options.rounds);

interface Seen {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const services = await startModelless(64);
const gateway = await startGateway(services.at);
try {
  const url = `${gateway.at.http}/healthz`;
  const before = machine();
  const rows = [];
  for (const clients of options.clients.split(',').map((text) => count('clients', text))) {
    const [ours, theirs]: [Seen[], Seen[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      ours.push(await ourLoop(url, clients));
      if (options.autocannon !== undefined) theirs.push(await autocannon(options.autocannon, url, clients));
    }
    for (const [name, seen] of Object.entries({ 'our loop': ours, autocannon: theirs })) {
      if (seen.length === 0) continue;
      const mid = (of: keyof Seen): number => median(seen.map((one) => one[of]));
      rows.push({ name, clients, perSecond: mid('perSecond'), p50Ms: mid('p50Ms'), p99Ms: mid('p99Ms') });
    }
  }
  console.log(`GET /healthz, ${rounds} rounds of ${seconds} s; ${before}`);
  printTable(
    ['', 'clients', 'requests/s', 'p50 ms', 'p99 ms'],
    rows.map(({ name, clients, perSecond, p50Ms, p99Ms }) => [name, String(clients), perSecond, p50Ms, p99Ms]),
  );
  await saveFigures(options.json, { bench: 'http-generator', seconds, rows });
} finally {
  await gateway.close();
  await services.close();
}

async function ourLoop(url: string, clients: number): Promise<Seen> {
  const ask = async (_: number, signal: AbortSignal): Promise<void> => {
    const response = await fetch(url, { signal });
    await response.arrayBuffer();
    if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  };
  const result = await closedLoop(ask, { clients, seconds });
  const { latencies } = result;
  return { perSecond: rate(result), p50Ms: percentile(latencies, 0.5), p99Ms: percentile(latencies, 0.99) };
}

/** @param program autocannon's main file @throws when it ends with an error or had answers other than 2xx */
async function autocannon(program: string, url: string, clients: number): Promise<Seen> {
  const argv = [program, '--json', '--connections', String(clients), '--duration', String(seconds), url];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'ignore'] });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${program} ended with ${code}`);
  const { requests, latency, non2xx, errors } = JSON.parse(said) as AutocannonResult;
  if (non2xx + errors > 0) throw new Error(`autocannon had ${non2xx + errors} answers that are none`);
  return { perSecond: requests.average, p50Ms: latency.p50, p99Ms: latency.p99 };
}

interface AutocannonResult {
  readonly requests: { readonly average: number };
  /** Milliseconds, whole. */
  readonly latency: { readonly p50: number; readonly p99: number };
  readonly non2xx: number;
  readonly errors: number;
}
