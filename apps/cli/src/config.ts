import type { SettingSources } from '@clip-gen/config';
import { fileURLToPath } from 'node:url';

/** How a terminal can show a picture. */
export type PictureProtocol = 'iterm' | 'kitty';

/** What the command line takes from its surroundings rather than from flags. */
export interface Config {
  /** CLIP_GEN_DEBUG, any text but `0`: errors come with their stack traces. Default off. */
  readonly debug: boolean;
  /** The model that is used unless --model names another: the one that comes with the project. */
  readonly modelFolder: string;
  /** Set by the terminal; undefined when it shows no pictures, or when a multiplexer (tmux, screen) stands between. */
  readonly pictureProtocol: PictureProtocol | undefined;
  /** COLORTERM is `truecolor` or `24bit`: coloured half blocks can stand for pixels. */
  readonly trueColour: boolean;
}

/** Reads the configuration; the only place that reads the environment. */
export function readConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  const debug = environment['CLIP_GEN_DEBUG'] ?? '';
  const colour = environment['COLORTERM'] ?? '';
  return {
    debug: debug !== '' && debug !== '0',
    modelFolder: fileURLToPath(new URL('../../../models/emoji', import.meta.url)),
    pictureProtocol: pictureProtocol(environment),
    trueColour: colour === 'truecolor' || colour === '24bit',
  };
}

/** Where `clip-gen serve` gets its settings from. */
export function settingSources(argv: readonly string[]): SettingSources {
  return { argv, env: process.env };
}

function pictureProtocol(environment: NodeJS.ProcessEnv): PictureProtocol | undefined {
  const terminal = environment['TERM'] ?? '';
  if (environment['TMUX'] || terminal.startsWith('screen') || terminal.startsWith('tmux')) return undefined;
  const program = environment['TERM_PROGRAM'] ?? '';
  if (environment['KITTY_WINDOW_ID'] || terminal === 'xterm-kitty' || program === 'ghostty') return 'kitty';
  if (program === 'iTerm.app' || program === 'WezTerm' || environment['LC_TERMINAL'] === 'iTerm2') return 'iterm';
  return undefined;
}
