export { trainCommand } from './train-command.ts';
