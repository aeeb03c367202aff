import { format, resolveConfig } from 'prettier';

/** A README of which some sections are made from code. */
export interface GeneratedReadme {
  /** From the repository's root. */
  readonly path: string;
  /** Markdown by the name that stands in the README: between `<!-- name -->` and `<!-- /name -->`. */
  readonly sections: () => Readonly<Record<string, string>>;
}

/**
 * The README with its sections made anew, formatted as the repository is.
 *
 * @throws Error when the text lacks a section's marks
 */
export async function withSections(text: string, path: string, { sections }: GeneratedReadme): Promise<string> {
  let whole = text;
  for (const [name, content] of Object.entries(sections())) {
    const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
    const [from, to] = [whole.indexOf(begin), whole.indexOf(end)];
    if (from < 0 || to < from) throw new Error(`${path} lacks the marks ${begin} and ${end}`);
    whole = `${whole.slice(0, from + begin.length)}\n\n${content}\n\n${whole.slice(to)}`;
  }
  return format(whole, { ...(await resolveConfig(path)), parser: 'markdown' });
}
