export { DESCRIPTOR_SET } from './descriptor-set.ts';
export {
  ClipEmbeddingDefinition,
  EmbedImageRequest,
  EmbedImageResponse,
  EmbedTextRequest,
  EmbedTextResponse,
  GetModelRequest,
  GetModelResponse,
  type ClipEmbeddingClient,
  type ClipEmbeddingServiceImplementation,
  type DeepPartial,
  type MessageFns,
} from './generated/clipgen/v1/clip_embedding.ts';
export { Embedding } from './generated/clipgen/v1/embedding.ts';
export { Image, ImageFormat } from './generated/clipgen/v1/image.ts';
export { imageMessage, readImageFormat, readImageMessage, type ImageBytes, type ImageLayout } from './image-layout.ts';
export {
  GenerateAccepted,
  GenerateFinished,
  GenerateProgress,
  GenerateRequest,
  GenerateResponse,
  GeneratedImage,
  GeneratedPartial,
  ImageGenerationDefinition,
  ListDecodersRequest,
  ListDecodersResponse,
  type ImageGenerationClient,
  type ImageGenerationServiceImplementation,
} from './generated/clipgen/v1/image_generation.ts';
export {
  DecodeOptions,
  DecodeRequest,
  DecodeResponse,
  EncodeRequest,
  EncodeResponse,
  GetDecoderRequest,
  GetDecoderResponse,
  PartialImage,
  TokenDecoderDefinition,
  type TokenDecoderClient,
  type TokenDecoderServiceImplementation,
  type ServerStreamingMethodResult,
} from './generated/clipgen/v1/token_decoder.ts';
export { SamplingOptions, TokenEvent, TokenGrid } from './generated/clipgen/v1/tokens.ts';
export { tokenBlock, type TokenBlock } from './token-block.ts';
export {
  GetSamplerRequest,
  GetSamplerResponse,
  SampleFinished,
  SampleRequest,
  SampleResponse,
  SampleStarted,
  TransformerSamplerDefinition,
  type TransformerSamplerClient,
  type TransformerSamplerServiceImplementation,
} from './generated/clipgen/v1/transformer_sampler.ts';
