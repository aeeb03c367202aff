const UNDECAYED = /^(emb|embed|embeds|embedding|embeddings|pos|position|positions|positional|wte|wpe|bias|norm|ln)$/;

/**
 * Whether weight decay applies by the GPT recipe: to matrices and convolution kernels (two dimensions or more), not to
 * biases, norms, embeddings and positions. A name counts as one of these when a word of its dotted path does, e.g.
 * `tok_emb.weight`, `positional_embedding`. A patch embedding is a projection and decays only if it is named as one.
 */
export function defaultDecay(name: string, shape: readonly number[]): boolean {
  return shape.length >= 2 && !name.split(/[._/\d]+/).some((word) => UNDECAYED.test(word));
}
