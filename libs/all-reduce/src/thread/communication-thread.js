// A worker thread starts as plain JavaScript, whatever runs the main thread (tsx, a test runner, Node itself);
// from here on TypeScript is understood.
import { register } from 'tsx/esm/api';

register();
await import('./communication-thread.ts');
