import { z } from 'zod';

/** Whether requests that name no decoder can be served, and what each service behind lacks. */
export const Readiness = z.strictObject({
  status: z.enum(['ready', 'not ready', 'draining']),
  missing: z.array(z.string()).meta({ description: 'Services that cannot be used; decoders besides the default too.' }),
  services: z.record(z.string(), z.string()).meta({ description: '`ready`, or what is wrong.' }),
});
export type Readiness = z.infer<typeof Readiness>;
