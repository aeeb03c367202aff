export { gradients, type Target } from './gradients.ts';
