export { describeSettings, helpText, settingsTable } from './describe-settings.ts';
export { nearestName } from './nearest-name.ts';
export { parseAddress, type HostPort } from './parse-address.ts';
export { readInteger, readNumber } from './read-number.ts';
export { asksForHelp, readSettings, type SettingSources } from './read-settings.ts';
export {
  address,
  choice,
  flag,
  integer,
  list,
  number,
  text,
  type Setting,
  type SettingOptions,
  type TextOptions,
} from './setting.ts';
export {
  defineSettings,
  environmentName,
  flagName,
  type Declarations,
  type Settings,
  type SettingsOf,
} from './settings.ts';
