import { createFileRegistry, fromBinary, toBinary, type DescFile, type FileRegistry } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { Status } from 'nice-grpc';
import { ServerReflectionDefinition, type ServerReflectionRequest } from './generated/grpc/reflection/v1/reflection.ts';
import { serve, type Service } from './serve.ts';

/** The older name of the same messages, which most clients still ask for. */
const ALPHA_DEFINITION = { ...ServerReflectionDefinition, fullName: 'grpc.reflection.v1alpha.ServerReflection' };

/**
 * `grpc.reflection.v1` and `v1alpha`: tells strangers which services there are and what their messages look like.
 *
 * @param names full names of the services to list
 * @param descriptorSet serialized google.protobuf.FileDescriptorSet that knows them, imports before their importers
 */
export function reflectionServices(names: readonly string[], descriptorSet: Uint8Array): Service[] {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptorSet));
  const implementation = {
    async *serverReflectionInfo(requests: AsyncIterable<ServerReflectionRequest>) {
      for await (const request of requests) {
        yield { validHost: request.host, originalRequest: request, messageResponse: answer(request, names, registry) };
      }
    },
  };
  return [serve(ServerReflectionDefinition, implementation), serve(ALPHA_DEFINITION, implementation)];
}

function answer({ messageRequest }: ServerReflectionRequest, names: readonly string[], registry: FileRegistry) {
  switch (messageRequest?.$case) {
    case 'listServices':
      return { $case: 'listServicesResponse', value: { service: names.map((name) => ({ name })) } } as const;
    case 'fileByFilename':
      return files(registry.getFile(messageRequest.value), `file ${messageRequest.value}`);
    case 'fileContainingSymbol':
      return files(fileOfSymbol(messageRequest.value, registry), `symbol ${messageRequest.value}`);
    case 'fileContainingExtension':
    case 'allExtensionNumbersOfType':
      return failure(Status.NOT_FOUND, 'no contract here has extensions');
    case undefined:
      return failure(Status.INVALID_ARGUMENT, 'message_request must be set');
  }
}

/** A message, enum or service by its full name; a method or field by its owner's and its own. */
function fileOfSymbol(symbol: string, registry: FileRegistry): DescFile | undefined {
  const whole = registry.get(symbol);
  if (whole !== undefined) return whole.file;
  const dot = symbol.lastIndexOf('.');
  const owner = registry.get(symbol.slice(0, Math.max(dot, 0)));
  const member = symbol.slice(dot + 1);
  if (owner?.kind === 'service') return owner.methods.some(({ name }) => name === member) ? owner.file : undefined;
  if (owner?.kind === 'message') return owner.fields.some(({ name }) => name === member) ? owner.file : undefined;
  return undefined;
}

/** The file and all that it imports, itself first. */
function files(file: DescFile | undefined, wanted: string) {
  if (file === undefined) return failure(Status.NOT_FOUND, `${wanted} is not known here`);
  const all = new Set([file]);
  for (const each of all) for (const imported of each.dependencies) all.add(imported); // a Set's loop sees what is added
  const fileDescriptorProto = [...all].map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto));
  return { $case: 'fileDescriptorResponse', value: { fileDescriptorProto } } as const;
}

function failure(errorCode: Status, errorMessage: string) {
  return { $case: 'errorResponse', value: { errorCode, errorMessage } } as const;
}
