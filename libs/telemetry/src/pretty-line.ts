/**
 * A line of JSON as people like to read it: `20:16:25.123 info  sampler listening port=50052`. What is no such line stays
 * as it is.
 */
export function prettyLine(line: string): string {
  let entry: unknown;
  try {
    entry = JSON.parse(line);
  } catch {
    return line;
  }
  if (typeof entry !== 'object' || entry === null) return line;
  const { time, level, service, msg, err, ...rest } = entry as Record<string, unknown>;
  const clock = typeof time === 'string' ? time.slice(11, 23) : '';
  const fields = Object.entries(rest).map(([key, value]) => `${key}=${show(value)}`);
  const head = [clock, show(level).padEnd(5), show(service), show(msg), ...fields].filter((part) => part !== '');
  return `${head.join(' ')}\n${errorLines(err)}`;
}

function errorLines(err: unknown): string {
  if (typeof err !== 'object' || err === null) return '';
  const { stack, message } = err as Record<string, unknown>;
  const text = stack ?? message;
  const lines = typeof text === 'string' ? text.split('\n') : [text];
  return lines.map((line) => `  ${show(line)}\n`).join('');
}

function show(value: unknown): string {
  if (value === undefined) return '';
  return harmless(typeof value === 'string' ? value : JSON.stringify(value));
}

/** Control characters as JSON has them: words of strangers must not begin lines or command the terminal. */
function harmless(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => {
    const escaped = JSON.stringify(character).slice(1, -1);
    return escaped === character ? `\\u00${character.charCodeAt(0).toString(16)}` : escaped; // JSON leaves U+007F to U+009F
  });
}
