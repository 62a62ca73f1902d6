import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import type { Command } from 'commander'
import { type Config, flagOf, OPTIONS, type Option } from '../config/options.ts'
import { loadConfig } from '../config/load.ts'
import { BrokerError, reasonOf } from '../errors.ts'

/** Adds a flag for each option of the table, and `--config`. */
export function addOptionFlags(command: Command): Command {
  command.option(
    '--config <file>',
    'file of NAME=value lines, as `roomcast default-config` prints them; flags and the environment come first',
  )
  for (const option of Object.values(OPTIONS) as Option[]) {
    const fallback = option.default === '' ? '' : `, default ${option.default}`
    command.option(
      `${flagOf(option)} <value>`,
      `${option.about} [${option.env}${option.unit ? `, ${option.unit}` : ''}${fallback}]`,
    )
  }
  return command
}

/** Flags override the environment, which overrides the file. @throws BrokerError CONFIG_INVALID */
export function configFrom(flags: Readonly<Record<string, string | undefined>>): Config {
  const env: Record<string, string | undefined> = { ...readFile(flags.config), ...process.env }
  for (const option of Object.values(OPTIONS) as Option[]) {
    const value = flags[camel(option.env)]
    if (value !== undefined) env[option.env] = value
  }
  return loadConfig(env)
}

function readFile(path: string | undefined): NodeJS.Dict<string> {
  if (path === undefined) return {}
  try {
    return parseEnv(readFileSync(path, 'utf8')) as NodeJS.Dict<string>
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `--config ${path}: ${reasonOf(error)}`)
  }
}

/** `MAX_PAYLOAD_BYTES` → `maxPayloadBytes`, as commander names its values. */
function camel(env: string): string {
  return env.toLowerCase().replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}
