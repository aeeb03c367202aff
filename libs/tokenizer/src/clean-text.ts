import { decodeHTML, decodeHTMLStrict } from 'entities';

/** Times that a line is gone over until nothing changes; nested entities need one each. */
const MAX_ROUNDS = 16;

/**
 * Text as CLIP's training saw it: typography made plain, HTML entities decoded, white space collapsed, lower case.
 * The reference runs ftfy.fix_text first. Here are its fixes of single characters; what it also does, guessing that
 * text was decoded with the wrong encoding ("Ã©" → "é"), is left out.
 */
export function cleanText(text: string): string {
  // From the first "<" on it may be HTML, in which entities mean something: they wait for the general decoding.
  let html = false;
  let fixed = '';
  for (const line of text.split(/(?<=\n)/)) {
    html ||= line.includes('<');
    fixed += fixLine(line, !html);
  }
  return decodeHTML(decodeHTML(fixed))
    .replace(CONTROLS, '')
    .replace(/\p{White_Space}+/gu, ' ')
    .replace(/^ | $/g, '')
    .toLowerCase();
}

function fixLine(line: string, entities: boolean): string {
  let fixed = line;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const before = fixed;
    if (entities) fixed = fixed.replace(/&#?[0-9A-Za-z]{1,24};/g, decodeEntity);
    fixed = fixCharacters(fixed);
    if (fixed === before) break;
  }
  return fixed;
}

function fixCharacters(text: string): string {
  // Nothing below touches visible ASCII.
  if (/^[\n -~]*$/.test(text)) return text;
  return text
    .replace(/[\x80-\x9f]/g, (character) => WINDOWS_1252[character.charCodeAt(0) - 0x80]!)
    .replace(LIGATURES, (letter) => letter.normalize('NFKC'))
    .replace(/[\uff01-\uffef\u3000]/g, (character) => character.normalize('NFKC'))
    .replace(/[\u02bc\u2018-\u201b]/g, "'")
    .replace(/[\u201c-\u201f]/g, '"')
    .replace(/\r\n?|[\u2028\u2029]/g, '\n')
    .replace(/\p{Cs}/gu, '\ufffd')
    .replace(TERMINAL_ESCAPES, '')
    .replace(CONTROLS, '')
    .replace(/[\u206a-\u206f\ufeff\ufff9-\ufffc]/g, '')
    .normalize('NFC');
}

/** Control characters, except white space and those of Latin-1. */
const CONTROLS = /(?![\t\n\f\r\x80-\x9f])\p{Cc}/gu;

/** Escape, "[", numbers, a letter: how terminals are told colours. */
const TERMINAL_ESCAPES = new RegExp(`${String.fromCharCode(0x1b)}\\[[\\d;]*[a-zA-Z]`, 'g');

/** What U+0080–U+009F were meant to be; five have no meaning and stay. */
const WINDOWS_1252 = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ';

/** Letters that are two letters drawn as one. */
const LIGATURES = /[\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\ufb00-\ufb06]/g;

/** One entity with its semicolon; also names in capitals, which stand for the capital: `&EACUTE;` is É. */
function decodeEntity(entity: string): string {
  const decoded = decodeHTMLStrict(entity);
  if (decoded !== entity || entity.startsWith('&#') || entity !== entity.toUpperCase()) return decoded;
  const small = decodeHTMLStrict(entity.toLowerCase());
  return small === entity.toLowerCase() ? entity : small.toUpperCase();
}
