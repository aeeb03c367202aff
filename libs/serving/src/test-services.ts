import {
  ClipEmbeddingDefinition,
  TokenDecoderDefinition,
  TransformerSamplerDefinition,
  type ClipEmbeddingServiceImplementation,
  type TokenDecoderServiceImplementation,
  type TransformerSamplerServiceImplementation,
} from '@clip-gen/contracts';
import { ClipGenError } from '@clip-gen/errors';
import { onTestFinished } from 'vitest';
import { connect, type ConnectionOptions } from './connection.ts';
import { startServer, type GrpcServer, type GrpcServerOptions } from './grpc-server.ts';
import { serve, type Service } from './serve.ts';

/** Handlers that a test leaves out throw `unimplemented`. */
function missing(): never {
  throw new ClipGenError('unimplemented', 'not in this test');
}

/** An embedding service of the given handlers. */
export function embedding(handlers: Partial<ClipEmbeddingServiceImplementation>): Service {
  return serve(ClipEmbeddingDefinition, { embedText: missing, embedImage: missing, getModel: missing, ...handlers });
}

/** A sampler of the given handlers. */
export function sampler(handlers: Partial<TransformerSamplerServiceImplementation>): Service {
  return serve(TransformerSamplerDefinition, { sample: missing, getSampler: missing, ...handlers });
}

/** A decoder of the given handlers. */
export function decoder(handlers: Partial<TokenDecoderServiceImplementation>): Service {
  return serve(TokenDecoderDefinition, { decode: missing, encode: missing, getDecoder: missing, ...handlers });
}

/** A real server on a port of its own, serving, closed with the test. */
export async function testServer(
  services: readonly Service[],
  options: Partial<GrpcServerOptions> = {},
): Promise<GrpcServer & { readonly address: string }> {
  const server = await startServer({ name: 'test', address: '127.0.0.1:0', services, ...options });
  onTestFinished(() => server.close());
  server.setServing(true);
  return Object.assign(server, { address: `127.0.0.1:${server.port}` });
}

type Definition = Parameters<typeof connect>[0];

/** A connection that is closed with the test. */
export function testConnection<D extends Definition>(
  definition: D,
  addresses: string | readonly string[],
  options: Partial<ConnectionOptions> = {},
) {
  const connection = connect(definition, {
    name: 'peer',
    addresses: typeof addresses === 'string' ? [addresses] : addresses,
    deadlineMs: 30_000,
    ...options,
  });
  onTestFinished(() => connection.close());
  return connection;
}
