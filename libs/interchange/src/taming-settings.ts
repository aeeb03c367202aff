import type { VqganConfig } from '@clip-gen/vqgan';
import type { Settings } from './settings.ts';

/** A VQGAN's parameters in these YAML files: the model's own, or the first stage of a transformer's. */
function parameters(settings: Settings): readonly string[] {
  const first = ['model', 'params', 'first_stage_config', 'params'];
  return settings.has(...first, 'ddconfig') ? first : ['model', 'params'];
}

/** Side of the pictures. */
export function tamingResolution(settings: Settings | undefined): number | undefined {
  return settings && settings.number(...parameters(settings), 'ddconfig', 'resolution');
}

/**
 * Holds a YAML file of taming-transformers against what the weights say.
 *
 * @throws failed_precondition naming the setting that is another, or one that clip-gen's function does not have
 */
export function checkTamingSettings(settings: Settings, config: VqganConfig): void {
  const at = parameters(settings);
  const sizes: readonly (readonly [readonly string[], number])[] = [
    [['n_embed'], config.codebookSize],
    [['embed_dim'], config.codeSize],
    [['ddconfig', 'z_channels'], config.latentSize ?? config.codeSize],
    [['ddconfig', 'ch'], config.channels],
    [['ddconfig', 'num_res_blocks'], config.blocks],
    [['ddconfig', 'in_channels'], 3],
    [['ddconfig', 'out_ch'], 3],
  ];
  for (const [keys, size] of sizes) {
    const told = settings.number(...at, ...keys);
    if (told !== undefined && told !== size)
      throw settings.refused([...at, ...keys], `${size}, as the weights have`, told);
  }
  const multipliers = settings.numbers(...at, 'ddconfig', 'ch_mult');
  if (multipliers && multipliers.join() !== config.multipliers.join()) {
    const bound = `[${config.multipliers.join(', ')}], as the weights have`;
    throw settings.refused([...at, 'ddconfig', 'ch_mult'], bound, multipliers);
  }
  const sides = settings.numbers(...at, 'ddconfig', 'attn_resolutions');
  const reached = config.multipliers.map((_, level) => config.imageSize / 2 ** level);
  const attending = sides && reached.filter((side) => sides.includes(side));
  if (attending && attending.join() !== config.attentionSides.join()) {
    const bound = `[${config.attentionSides.join(', ')}], as the weights have at ${config.imageSize} pixels`;
    throw settings.refused([...at, 'ddconfig', 'attn_resolutions'], bound, sides);
  }
  const switches: readonly (readonly [readonly string[], readonly unknown[]])[] = [
    [['remap'], [null]],
    [['ddconfig', 'double_z'], [false]],
    [['ddconfig', 'give_pre_end'], [false]],
    [['ddconfig', 'tanh_out'], [false]],
    [['ddconfig', 'resamp_with_conv'], [true]],
    [
      ['ddconfig', 'attn_type'],
      ['vanilla', 'vanilla-xformers'],
    ],
  ];
  for (const [keys, allowed] of switches) {
    const told = settings.at(...at, ...keys);
    if (told === undefined || allowed.includes(told)) continue;
    throw settings.refused([...at, ...keys], `${allowed.map((value) => JSON.stringify(value)).join(' or ')}`, told);
  }
}
