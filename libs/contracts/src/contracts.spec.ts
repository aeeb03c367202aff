import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { expect, it } from 'vitest';
import {
  ClipEmbeddingDefinition,
  DESCRIPTOR_SET,
  GenerateRequest,
  Image,
  ImageFormat,
  ImageGenerationDefinition,
  imageMessage,
  readImageMessage,
  SampleResponse,
  SamplingOptions,
  TokenDecoderDefinition,
  TransformerSamplerDefinition,
} from './index.ts';

const DEFINITIONS = [
  ClipEmbeddingDefinition,
  ImageGenerationDefinition,
  TokenDecoderDefinition,
  TransformerSamplerDefinition,
];

it('describes every service as its definition has it', () => {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, DESCRIPTOR_SET));
  for (const definition of DEFINITIONS) {
    const service = registry.getService(definition.fullName);
    const methods = Object.values(definition.methods).map(({ name, requestStream, responseStream }) => ({
      name,
      kind: requestStream ? 'bidi_streaming' : responseStream ? 'server_streaming' : 'unary',
    }));
    expect(service?.methods.map(({ name, methodKind }) => ({ name, kind: methodKind }))).toEqual(methods);
  }
});

it('marks what may be called again', () => {
  const methods = DEFINITIONS.flatMap(({ methods }) =>
    Object.values<{ readonly name: string; readonly options: object }>(methods),
  );
  const repeatable = methods.filter(({ options }) => 'idempotencyLevel' in options).map(({ name }) => name);
  expect(repeatable.sort()).toEqual([
    ...[
      'EmbedImage',
      'EmbedText',
      'Encode',
      'Generate',
      'GetDecoder',
      'GetModel',
      'GetSampler',
      'ListDecoders',
      'Sample',
    ],
  ]);
});

it('keeps absent apart from zero, and 64 bits exact', () => {
  const request = { prompt: 'a cat', n: 0, seed: 2n ** 53n - 1n };
  const decoded = GenerateRequest.decode(GenerateRequest.encode(GenerateRequest.fromPartial(request)).finish());
  expect(decoded).toMatchObject(request);
  expect(decoded.candidates).toBeUndefined();
  expect(decoded.sampling).toBeUndefined();
  expect(SamplingOptions.decode(SamplingOptions.encode({ temperature: 0 }).finish()).temperature).toBe(0);
});

it('names which event it is', () => {
  const message = {
    event: {
      $case: 'tokens',
      value: { condition: 0, firstCandidate: 3, position: 5, positions: 1, tokens: [1, 2, 300] },
    },
  };
  const decoded = SampleResponse.decode(
    SampleResponse.encode(SampleResponse.fromPartial(message as SampleResponse)).finish(),
  );
  expect(decoded).toEqual(message);
});

it('knows every format of a picture by a name, and no other', () => {
  const data = Uint8Array.of(1, 2, 3);
  for (const layout of ['rgb8', 'png', 'jpeg', 'webp'] as const) {
    const message = imageMessage({ layout, width: 1, height: 1, data });
    expect(ImageFormat[message.format]).toBe(`IMAGE_FORMAT_${layout.toUpperCase()}`);
    expect(readImageMessage(message, 'image')).toEqual({ layout, width: 1, height: 1, data });
  }
  const unsaid = Image.fromPartial({ data });
  expect(readImageMessage(unsaid, 'image').layout).toBe('png');
  expect(() => readImageMessage({ ...unsaid, format: 5 as ImageFormat }, 'images[1]')).toThrow(
    'images[1].format must be a format of the contract, 0 to 4; got 5',
  );
});

it('has options of sampling to the last bit', () => {
  const exact = { temperature: 0.9, topK: 3, topP: 0.95, guidance: 1.7 };
  expect(SamplingOptions.decode(SamplingOptions.encode(exact).finish())).toEqual(exact);
});

it('reads damaged bytes as an error, not as a message', () => {
  const bytes = Image.encode({
    format: ImageFormat.IMAGE_FORMAT_PNG,
    width: 1,
    height: 1,
    data: new Uint8Array(50),
  }).finish();
  expect(() => Image.decode(bytes.subarray(0, 20))).toThrow();
  expect(() => Image.decode(Buffer.from('ffffffffffffffffffffff', 'hex'))).toThrow();
});
