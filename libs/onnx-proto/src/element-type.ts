import type { DType } from '@clip-gen/tensor';
import { TensorProto_DataType } from './generated/onnx-ml.ts';

/** ONNX's number of each dtype (`TensorProto.DataType`); ONNX Runtime's `ONNXTensorElementDataType` uses the same. */
export const ONNX_ELEMENT_TYPE = {
  float32: TensorProto_DataType.FLOAT,
  float16: TensorProto_DataType.FLOAT16,
  bfloat16: TensorProto_DataType.BFLOAT16,
  float64: TensorProto_DataType.DOUBLE,
  int8: TensorProto_DataType.INT8,
  uint8: TensorProto_DataType.UINT8,
  int32: TensorProto_DataType.INT32,
  int64: TensorProto_DataType.INT64,
  bool: TensorProto_DataType.BOOL,
} as const satisfies { readonly [D in DType]: TensorProto_DataType };
