/**
 * The two 16-bit floating-point formats as their bits. IEEE 754 binary16 (`float16`): 1 sign, 5 exponent and 10 fraction
 * bits. `bfloat16`: the upper half of a float32. Rounding is to nearest, ties to even; NaN stays NaN.
 */
const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

/** Exact. */
export function float16ToFloat32(bits: number): number {
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  const sign = (bits & 0x8000) << 16;
  if (exponent === 0) {
    // Zero or subnormal: fraction · 2^-24.
    const magnitude = fraction * 2 ** -24;
    return sign === 0 ? magnitude : -magnitude;
  }
  // The exponent's bias goes from 15 to 127; infinity and NaN keep an exponent of ones.
  const wide = exponent === 0x1f ? 0xff : exponent + 112;
  word[0] = sign | (wide << 23) | (fraction << 13);
  return float[0] ?? 0;
}

/** Nearest float16 of a float32 value; magnitudes from 65520 on become infinity. */
export function float32ToFloat16(value: number): number {
  float[0] = value;
  const bits = word[0] ?? 0;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff); // NaN, made quiet
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65520, half-way from the largest to the next
  if (magnitude >= 0x38800000) {
    // At least 2^-14, a normal float16. Half of the dropped 13 bits, and one more where the kept fraction is odd; a
    // carry out of the fraction rightly raises the exponent.
    const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
    return sign | ((rounded - 0x38000000) >>> 13);
  }
  // Subnormal: significand · 2^(exponent - 150) counted in 2^-24.
  const shift = 126 - (magnitude >>> 23);
  if (shift > 24) return sign; // below 2^-25
  const significand = (magnitude & 0x7fffff) | 0x800000;
  const kept = significand >>> shift;
  const dropped = significand & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (dropped > half || (dropped === half && (kept & 1) === 1) ? kept + 1 : kept);
}

/** Exact. */
export function bfloat16ToFloat32(bits: number): number {
  word[0] = bits << 16;
  return float[0] ?? 0;
}

/** Nearest bfloat16 of a float32 value. */
export function float32ToBfloat16(value: number): number {
  float[0] = value;
  const bits = word[0] ?? 0;
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40; // NaN, made quiet
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}
