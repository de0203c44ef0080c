// Strings that have tripped tokenizers, by the thousand: scripts, emoji, marks, spaces, numbers, code, controls. Seeded; for tests.

/** Mulberry32: 32-bit state, uniform in [0, 1). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const words = [
  [
    'the',
    'Whale',
    'AHAB',
    'harpooneer',
    'straightforward',
    'naïve',
    'nai\u0308ve',
    'Ångström',
    'Straße',
    'ĲSSEL',
    'ǅ',
    'ﬁn',
    'Ω',
    'e\u0301\u0327\u0316',
  ],
  [
    'Θάλασσα',
    'κύμα',
    'ὀδυσσεύς',
    'Россия',
    'ёлка',
    'Їжак',
    'გამარჯობა',
    'Հայաստան',
    'שָׁלוֹם',
    'עולם',
    'مَرْحَبًا',
    'العالم',
    'می‌خواهم',
    'ܫܠܡܐ',
  ],
  [
    'नमस्ते',
    'क्षत्रिय',
    'বাংলা',
    'ਪੰਜਾਬੀ',
    'ગુજરાતી',
    'தமிழ்',
    'తెలుగు',
    'ಕನ್ನಡ',
    'മലയാളം',
    'සිංහල',
    'สวัสดีชาวโลก',
    'ກອນ',
    'བོད་སྐད',
    'မြန်မာ',
    'ភាសាខ្មែរ',
    'ᠮᠣᠩᠭᠣᠯ',
  ],
  [
    '鯨',
    '白鲸記',
    '人工智能',
    '漢字かな交じり文',
    'カタカナ',
    'ﾊﾝｶｸ',
    '모비딕',
    '\u1106\u1169\u1107\u1175',
    '한국어',
    'ᏣᎳᎩ',
    'አማርኛ',
    'ⵜⴰⵎⴰⵣⵉⵖⵜ',
    '𐌰𐌱𐌲',
    '𒀀𒀁',
    '𓂀',
    '𝔘𝔫𝔦',
    '𠮷野家',
  ],
  ['😀', '👩‍👩‍👧‍👦', '🏳️‍🌈', '🇩🇪🇫🇷🇯', '👍🏽', '❤️', '☎︎', '1️⃣', '#️⃣', '🧑🏿‍🚀', '🏴󠁧󠁢󠁳󠁣󠁴󠁿'],
  ["it's", "I'll", "WE'RE", "don't", "y'all've", "'tis", "'S", "they'D", "'re'", "''ve", '’s', "l'été", "'ſ", "'\u212a"],
  [
    '1',
    '12',
    '123',
    '1234567890',
    '3.14159',
    '1,000,000',
    '-0x1F',
    '1e-9',
    '٣٤٥',
    '१२३',
    '①②',
    'Ⅻ',
    '½',
    'x²',
    '１２３',
    '𝟘𝟙',
    '෧',
  ],
  [
    'if (a<=b && !c) {',
    '}',
    'x += y[0]->z;',
    '// TODO',
    '#include <stdio.h>',
    'fn main() -> Result<(), E>',
    'SELECT * FROM "t";',
    '</div>',
    '\\n',
    '$HOME/.config',
    '{{ x }}',
  ],
  [
    'def f(self):',
    '    return {}',
    '\t\tcase 3:',
    '=======',
    '----',
    '...',
    '!!?',
    '“quoted”',
    '«»',
    '——',
    '(parens)',
    '[1]',
    'a/b/c',
    'http://x.y/?q=1&r=%20',
    'me@x.org',
  ],
  [
    '<|endoftext|>',
    '<|endoftext',
    '|>',
    '<|im_start|>',
    '<|im_start|><|im_end|>',
    '<pad>',
    ' <mask> ',
    '<mask>',
    '<word>',
    'a<word>',
    '<word>1',
    '<keep>',
    'naïf<keep>',
    '<two words>',
    '<two',
    'Ωtoken',
    '<é>',
    '<e\u0301>',
  ],
  [
    '\0',
    '\u0001\u0002',
    '\u001b[31m',
    '\u007f',
    '\u0080',
    '\u0085',
    '\u00ad',
    '\u200b',
    '\u200d',
    '\u200e',
    '\ufeff',
    '\ufffd',
    '\uffff',
    '\ue000',
    '\u{10ffff}',
    '\ud800',
    '\udc00x',
    '\udfff\ud800',
  ],
].flat();
const spaces = [
  '',
  ' ',
  ' ',
  ' ',
  '  ',
  '   ',
  '\n',
  '\n\n',
  '\r\n',
  '\r',
  '\t',
  ' \n',
  '\n ',
  '\n\n  ',
  '\u00a0',
  '\u3000',
  '\u2028',
  '\u2003 ',
  ' \u0085',
  '\v\f',
  '      \t ',
];
/** Characters of Unicode 17 are left out: the reference knows Unicode 16. */
const ranges: readonly (readonly [number, number])[] = [
  [0, 0x7f],
  [0x80, 0x24f],
  [0x250, 0x7ff],
  [0x900, 0xc5b],
  [0xd00, 0xdff],
  [0x1100, 0x11ff],
  [0x1e00, 0x206f],
  [0x2190, 0x2bff],
  [0x3000, 0x4dff],
  [0xac00, 0xd7ff],
  [0xd800, 0xdfff],
  [0xf900, 0xfdff],
  [0x1f000, 0x1faff],
  [0x20000, 0x2a6df],
];

/** Makes `count` strings; equal arguments give equal strings. */
export function sampleStrings(count: number, seed: number): string[] {
  const random = seededRandom(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  const character = (): string => {
    const [first, last] = pick(ranges);
    return String.fromCodePoint(first + below(last - first + 1));
  };
  return Array.from({ length: count }, () => {
    const parts: string[] = [];
    const kind = random();
    for (let left = below(14); left >= 0; left--) {
      if (kind < 0.15) parts.push(character());
      else if (kind < 0.3) parts.push(random() < 0.5 ? character() : pick(spaces));
      else if (kind < 0.4) parts.push(pick(words).repeat(1 + below(4)));
      else parts.push(pick(words), pick(spaces));
    }
    return parts.join('');
  });
}
