export { readmeTables, type ProgramTables } from './readme-tables.ts';
export { readClientTls, readTls } from './read-tls.ts';
export { runService, type ServiceProgram } from './run-service.ts';
export {
  clientTlsSettings,
  logFormatSetting,
  serverTlsSettings,
  serviceSettings,
  type ServicePorts,
  type ServiceSettings,
} from './service-settings.ts';
export {
  startService,
  type LoadedService,
  type Running,
  type ServiceDeps,
  type ServiceHost,
  type ServiceOptions,
} from './start-service.ts';
export { refuseTakenAddresses } from './taken-addresses.ts';
