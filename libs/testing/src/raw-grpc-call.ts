import { connect } from 'node:http2';

/** How a server answered bytes that no client library would send. */
export interface RawGrpcAnswer {
  /** `grpc-status`, or undefined where there was none. */
  readonly status: number | undefined;
  readonly message: string;
}

/** A gRPC frame: uncompressed, with its length. */
export function grpcFrame(body: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

/**
 * Sends bytes as the body of a gRPC call, whatever they are, and waits for the call's end.
 *
 * @param path such as `/clipgen.v1.TokenDecoder/Encode`
 */
export function rawGrpcCall(port: number, path: string, bytes: Uint8Array): Promise<RawGrpcAnswer> {
  const session = connect(`http://127.0.0.1:${port}`);
  return new Promise<RawGrpcAnswer>((resolve, reject) => {
    session.on('error', reject);
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    let status: string | undefined;
    let message = '';
    const read = (headers: Readonly<Record<string, unknown>>): void => {
      if (headers['grpc-status'] === undefined) return;
      status = String(headers['grpc-status']);
      message = decodeURIComponent(String(headers['grpc-message'] ?? ''));
    };
    stream.on('response', read).on('trailers', read).on('error', reject);
    stream.on('close', () => resolve({ status: status === undefined ? undefined : Number(status), message }));
    stream.resume();
    stream.end(bytes);
  }).finally(() => session.close());
}
