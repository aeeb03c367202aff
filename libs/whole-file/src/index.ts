export { makeFolder, writeBytes, writeWhole } from './whole-file.ts';
