export { runService, type ServiceProgram } from './run-service.ts';
export { serviceSettings, type ServicePorts, type ServiceSettings } from './service-settings.ts';
export {
  startService,
  type LoadedService,
  type Running,
  type ServiceHost,
  type ServiceOptions,
} from './start-service.ts';
