export { GATEWAY_SETTINGS, type GatewaySettings } from './config.ts';
export { startGateway, type RunningGateway } from './gateway.ts';
