export { launchCommand } from './launch-command.ts';
export { trainCommand } from './train-command.ts';
