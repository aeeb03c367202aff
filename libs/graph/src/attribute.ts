/** An attribute of a node, tagged with its ONNX type. */
export type Attribute =
  | { readonly type: 'int'; readonly value: number }
  | { readonly type: 'ints'; readonly value: readonly number[] }
  | { readonly type: 'float'; readonly value: number }
  | { readonly type: 'string'; readonly value: string };

/** A node's attributes by their ONNX names. */
export type Attributes = Readonly<Record<string, Attribute>>;

/** A 64-bit integer attribute. */
export const int = (value: number): Attribute => ({ type: 'int', value });
/** A list of 64-bit integers, such as axes or pads. */
export const ints = (value: readonly number[]): Attribute => ({ type: 'ints', value });
/** A float32 attribute. */
export const float = (value: number): Attribute => ({ type: 'float', value });
/** A text attribute, stored as UTF-8. */
export const string = (value: string): Attribute => ({ type: 'string', value });

/** The value of an int attribute, or the default of the operator. */
export function intAttribute(attributes: Attributes, name: string, byDefault: number): number {
  const attribute = attributes[name];
  return attribute?.type === 'int' ? attribute.value : byDefault;
}

/** The value of an ints attribute, or the default of the operator. */
export function intsAttribute(attributes: Attributes, name: string, byDefault: readonly number[]): readonly number[] {
  const attribute = attributes[name];
  return attribute?.type === 'ints' ? attribute.value : byDefault;
}

/** The value of a float attribute, or the default of the operator. */
export function floatAttribute(attributes: Attributes, name: string, byDefault: number): number {
  const attribute = attributes[name];
  return attribute?.type === 'float' ? attribute.value : byDefault;
}
