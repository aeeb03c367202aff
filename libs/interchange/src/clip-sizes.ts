import type { ClipConfig } from '@clip-gen/clip';
import type { Settings } from './settings.ts';

/** What a CLIP's weights do not tell: heads and activation. */
export interface ClipHints {
  readonly visionHeads?: number;
  readonly textHeads?: number;
  readonly activation?: ClipConfig['activation'];
}

type Activation = NonNullable<ClipConfig['activation']>;

/** OpenAI's rule. */
const HEAD_WIDTH = 64;
/** Widths of open_clip's vision towers whose heads are wider: ViT-H, ViT-g, ViT-bigG, with 16 heads each. */
const WIDE_HEADED = new Set([1280, 1408, 1664]);
const WIDE_HEADS = 16;

/** Heads of a vision tower of this width in the published models. */
export function visionHeadsOf(width: number): number {
  return WIDE_HEADED.has(width) ? WIDE_HEADS : Math.max(1, Math.floor(width / HEAD_WIDTH));
}

/** Heads of a text tower of this width in the published models. */
export function textHeadsOf(width: number): number {
  return Math.max(1, Math.floor(width / HEAD_WIDTH));
}

/** The models with wide heads exist with GELU only; of the others the weights do not tell. */
export function activationOf(visionWidth: number): { activation: Activation; certain: boolean } {
  const wide = WIDE_HEADED.has(visionWidth);
  return { activation: wide ? 'gelu' : 'quickGelu', certain: wide };
}

/**
 * Hints out of Hugging Face's `config.json` or open_clip's `open_clip_config.json`.
 *
 * @throws failed_precondition for a setting that clip-gen's CLIP does not have
 */
export function clipHints(settings: Settings): ClipHints | undefined {
  if (settings.has('vision_config') || settings.has('text_config')) return huggingFaceHints(settings);
  const at = settings.has('model_cfg') ? ['model_cfg'] : [];
  if (settings.has(...at, 'vision_cfg')) return openClipHints(settings, at);
  return undefined;
}

function huggingFaceHints(settings: Settings): ClipHints {
  const activations = ['vision_config', 'text_config'].map((tower) => {
    const epsilon = settings.number(tower, 'layer_norm_eps');
    if (epsilon !== undefined && epsilon !== 1e-5) throw settings.refused([tower, 'layer_norm_eps'], '1e-5', epsilon);
    const name = settings.at(tower, 'hidden_act') ?? 'quick_gelu';
    if (name === 'quick_gelu') return 'quickGelu';
    if (name === 'gelu') return 'gelu';
    throw settings.refused([tower, 'hidden_act'], 'quick_gelu or gelu', name);
  });
  if (activations[0] !== activations[1]) {
    throw settings.refused(
      ['text_config', 'hidden_act'],
      `that of the vision tower (${activations[0]})`,
      activations[1],
    );
  }
  return {
    visionHeads: settings.number('vision_config', 'num_attention_heads') ?? 12,
    textHeads: settings.number('text_config', 'num_attention_heads') ?? 8,
    activation: activations[0],
  };
}

function openClipHints(settings: Settings, at: readonly string[]): ClipHints {
  const width = settings.number(...at, 'vision_cfg', 'width');
  const headWidth = settings.number(...at, 'vision_cfg', 'head_width') ?? HEAD_WIDTH;
  if (settings.has(...at, 'vision_cfg', 'timm_model_name')) {
    throw settings.refused([...at, 'vision_cfg', 'timm_model_name'], 'left out (a ViT of open_clip itself)', 'a name');
  }
  return {
    ...(width === undefined ? {} : { visionHeads: width / headWidth }),
    textHeads: settings.number(...at, 'text_cfg', 'heads'),
    activation: settings.at(...at, 'quick_gelu') === true ? 'quickGelu' : 'gelu',
  };
}
