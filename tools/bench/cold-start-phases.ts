/**
 * What `clip-gen generate` does, with a clock: one line of JSON, milliseconds of each phase. Started by cold-start.ts as
 * a process of its own: MODEL PROMPT FILE.
 */
import { writeFile } from 'node:fs/promises';

const [folder, prompt, path] = process.argv.slice(2);
if (!folder || !prompt || !path) throw new Error('cold-start-phases.ts needs a model, a prompt and a file');

// The clock starts with the process: everything before this line is Node's start and the loader's.
const started = performance.now();
const { generate, loadModel, openModelParts } = await import('@clip-gen/generation');
const imported = performance.now();
const parts = await openModelParts(folder);
const model = await loadModel(parts);
const opened = performance.now();
let drawn = opened;
const { pictures } = await generate(model, { prompt, seed: 1 }, ({ stage }) => {
  if (stage === 'tokens') drawn = performance.now();
});
const judged = performance.now();
const { encodeImage } = await import('@clip-gen/image');
await writeFile(path, await encodeImage(pictures[0]!.image, { format: 'png' }));
const written = performance.now();
await model.close();
const phases = {
  'node and loader': started,
  imports: imported - started,
  'model open': opened - imported,
  'text and tokens': drawn - opened,
  'decode and rank': judged - drawn,
  'write PNG': written - judged,
  close: performance.now() - written,
};
console.log(JSON.stringify(phases));
