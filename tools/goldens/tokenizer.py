"""Token ids of hard strings, by OpenAI's tokenizer: `python tools/goldens/tokenizer.py`.

Needs the packages clip-anytorch (for its copy of OpenAI's simple_tokenizer.py; `--no-deps` will do), ftfy and regex.
Writes libs/tokenizer/goldens/openai.jsonl.gz and, with --merges, libs/tokenizer/merges/clip.u16.gz; with
--out FILE --count N it writes N cases elsewhere, for a wider comparison by tools/goldens/compare-tokenizer.ts.
"""

import argparse
import gzip
import importlib.util
import json
import random
import unicodedata
from array import array
from pathlib import Path

import ftfy

LIBRARY = Path(__file__).resolve().parents[2] / 'libs' / 'tokenizer'
VOCABULARY_MERGES = 48_894

WORDS = (
    'a photo of the cat dog pizza umbrella sunset mountain isn\'t they\'re WE\'VE I\'m she\'ll he\'d dogs\' o\'clock '
    'antidisestablishmentarianism supercalifragilistic naïve café Zürich İstanbul straße ΣΊΣΥΦΟΣ Москва 東京 ไทย '
    'hello_world foo.bar@example.com https://x.org/?a=1&b=2 #hashtag @user 3.14159 1,000,000 ½ ² Ⅷ ① 100% $5 C++ '
    'iPhone15 e=mc² x<y y>z ... !!! ?! -- — ~ ` ^ \\ | <b>bold</b> <|endoftext|> <|startoftext|>'
).split(' ')
ENTITIES = (
    '&amp; &lt; &gt; &quot; &apos; &nbsp; &eacute; &EACUTE; &copy &notit; &#39; &#x27; &#128512; &#x1F600; &amp;amp; '
    '&amp;lt; &amp;#39; &unknown; & &; &# &#; &#x; &#0; &#128; &#xD800; &#1114112; &CounterClockwiseContourIntegral; '
    '&nvlt; &hearts; &AMP &Auml &zwj;'
).split(' ')
EMOJI = '😀 🐱 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪 ❤️ ☕ 1️⃣ 🤷🏾‍♀️ 😂😂 💙💙 ©️ ™ ✨'.split(' ')
TYPOGRAPHY = '“quoted” ‘single’ ʼn ﬁne oﬃce ＦＵＬＬ　ｗｉｄｔｈ ｶﾞ ǆ … – — • « » „low“ ‚x‛ don’t it‘s e\u0301 A\u030a'.split(' ')
CONTROL = ['\x00', '\x07', '\x0b', '\x0c', '\x1b[31m', '\x1b[0m', '\x1c', '\x1f', '\x7f', '\x85', '\x92', '\ufeff']
CONTROL += ['\u200b', '\u200d', '\u2028', '\u2029', '\u206a', '\ufffc', '\ufffd', '\u202e', '\u00ad', '\u180e']
SPACES = [' ', '  ', '\t', '\n', '\r\n', '\r', '\u00a0', '\u3000', '\u2003', '\u1680', '']
CASE_FOLDING = ["'ſ", "x'S", 'K', 'Å', 'ſ', 'ẞ', 'ı', 'ͅ', 'ⓐⒷ', 'ⅳⅣ', 'ǅ', 'ΑΣ', 'ΣΣ.', "'LL", "'Re", "''s", "'"]
SCRIPTS = [
    (0x20, 0x7E), (0xA0, 0x17F), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x620, 0x64A), (0x660, 0x669),
    (0x900, 0x97F), (0xE01, 0xE3A), (0x1100, 0x11FF), (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x2070, 0x218F),
    (0x2190, 0x27BF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAD9), (0xFE00, 0xFE6F),
    (0xFF00, 0xFFEF), (0x10330, 0x1034A), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF), (0xE0000, 0xE007F),
]


def letters(draw: random.Random, count: int) -> str:
    # Characters without a meaning yet are letters in a newer Unicode: two versions would disagree on them.
    low, high = draw.choice(SCRIPTS)
    drawn = (chr(draw.randint(low, high)) for _ in range(count))
    return ''.join(character for character in drawn if unicodedata.category(character) != 'Cn')


def make_string(draw: random.Random) -> str:
    """A sentence of pieces of every kind; now and then one word that is very long."""
    if draw.random() < 0.02:
        return ''.join(draw.choice('abcdefgheaiou') for _ in range(draw.randint(100, 600)))
    kinds = [WORDS] * 5 + [ENTITIES, EMOJI, TYPOGRAPHY, CONTROL, CASE_FOLDING, None, None]
    if draw.random() < 0.4:
        kinds = [draw.choice(kinds)]
    parts = []
    for _ in range(draw.randint(0, 14)):
        kind = draw.choice(kinds)
        parts.append(letters(draw, draw.randint(1, 8)) if kind is None else draw.choice(kind))
        parts.append(draw.choice(SPACES) if draw.random() < 0.3 else ' ')
    return ''.join(parts)


def cases(tokenizer, count: int, seed: int) -> list[dict]:
    """Every listed piece alone, then random strings; those that ftfy takes for wrongly decoded are left out."""
    draw = random.Random(seed)
    singles = ['', ' ', *WORDS, *ENTITIES, *EMOJI, *TYPOGRAPHY, *CONTROL, *CASE_FOLDING]
    found, guessed = [], 0
    while len(found) < count:
        at = len(found) + guessed
        text = singles[at] if at < len(singles) else make_string(draw)
        if ftfy.fix_text(text) != ftfy.fix_text(text, fix_encoding=False):
            guessed += 1
        else:
            found.append({'text': text, 'ids': tokenizer.encode(text)})
    print(f'{count} strings; {guessed} more left out, in which ftfy guesses another encoding')
    return found


def write_gzip(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 9, mtime=0))
    print(f'{path}: {path.stat().st_size} bytes')


def load_reference():
    """OpenAI's simple_tokenizer.py, without the package around it (which wants torch and a network)."""
    package = importlib.util.find_spec('clip')
    if package is None or package.origin is None:
        raise SystemExit('install clip-anytorch (--no-deps will do), ftfy and regex')
    path = Path(package.origin).with_name('simple_tokenizer.py')
    spec = importlib.util.spec_from_file_location('simple_tokenizer', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--merges', action='store_true')
    parser.add_argument('--count', type=int, default=600)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, default=LIBRARY / 'goldens' / 'openai.jsonl.gz')
    options = parser.parse_args()
    tokenizer = load_reference()
    if options.merges:
        ids = array('H')
        assert len(tokenizer.bpe_ranks) == VOCABULARY_MERGES
        for pair in tokenizer.bpe_ranks:
            ids.extend(tokenizer.encoder[part] for part in pair)
        write_gzip(LIBRARY / 'merges' / 'clip.u16.gz', ids.tobytes())
    lines = [json.dumps(case, separators=(',', ':')) for case in cases(tokenizer, options.count, options.seed)]
    write_gzip(options.out, '\n'.join(lines).encode() + b'\n')


if __name__ == '__main__':
    main()
