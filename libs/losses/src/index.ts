export { adaptiveWeight, hingeDiscriminator, hingeGenerator, type AdaptiveWeight } from './adversarial.ts';
export { contrastive, contrastiveShare, type PairedRows } from './contrastive.ts';
export { lpips, VGG16_CONVOLUTIONS, type LpipsOptions } from './lpips.ts';
export { featureDistance } from './perceptual.ts';
export { l1, mse } from './reconstruction.ts';
export { straightThroughCodes, tokenCrossEntropy } from './token-prediction.ts';
