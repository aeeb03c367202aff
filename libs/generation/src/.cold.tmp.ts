const cpu = () => {
  const u = process.cpuUsage();
  return `wall ${performance.now().toFixed(0)} cpu ${((u.user + u.system) / 1000).toFixed(0)}`;
};
console.log('start', cpu());
await import('@clip-gen/onnx-proto');
console.log('onnx-proto', cpu());
await import('zod');
console.log('zod', cpu());
await import('@clip-gen/runtime');
console.log('runtime', cpu());
await import('@clip-gen/gpt');
await import('@clip-gen/clip');
await import('@clip-gen/vqgan');
console.log('models', cpu());
await import('@clip-gen/tokenizer');
console.log('tokenizer', cpu());
await import('sharp');
console.log('sharp', cpu());
await import('@clip-gen/image');
console.log('image', cpu());
const { openModelParts, loadModel, generate } = await import('./index.ts');
console.log('generation', cpu());
const parts = await openModelParts('/tmp/gen/model');
console.log('parts', cpu());
const model = await loadModel(parts, { threads: 2, optimization: (process.argv[2] ?? 'all') as 'all' });
console.log('load', cpu());
let last = '';
const r = await generate(model, { prompt: 'a slice of pizza', pictures: 1 }, (p) => {
  if (p.stage !== last) {
    console.log(p.stage, cpu());
    last = p.stage;
  }
});
console.log('generated', cpu());
const { encodeImage, resizeImage } = await import('@clip-gen/image');
await encodeImage(await resizeImage(r.pictures[0]!.image, { width: 256, height: 256 }), { format: 'png' });
console.log('png', cpu());
await model.close();
console.log('close', cpu());
