import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { Command } from 'commander'
import { chooseApplications } from '../applications/served.ts'
import { type KnownApplication, knownApplications } from '../applications/known.ts'
import { type Config, flagOf, type Option } from '../config/options.ts'
import { contractPaths, loadConfig } from '../config/load.ts'
import { optionsWith, portOption } from '../config/port-options.ts'
import { portsOf } from '../contracts/ports.ts'
import { BrokerError, reasonOf } from '../errors.ts'

/** What this run of the program has options for. */
export interface ProgramOptions {
  readonly applications: readonly KnownApplication[]
  /** The options of the ports that the applications name. */
  readonly ports: readonly Option[]
}

type Flags = Readonly<Record<string, string | undefined>>

/**
 * Contracts name ports, and each port is an option: CONTRACTS is read before the other options.
 * @param args what follows the verb
 * @throws BrokerError CONFIG_INVALID, CONTRACT_INVALID
 */
export async function programOptions(args: readonly string[]): Promise<ProgramOptions> {
  const command = addOptionFlags(new Command(), [])
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
  try {
    command.parseOptions([...args])
  } catch {
    // A flag without its value: the verb says so.
  }
  return optionsOf(await knownApplications(contractPaths(environment(command.opts(), []))))
}

/** The options of these applications. @throws BrokerError CONTRACT_INVALID */
export function optionsOf(applications: readonly KnownApplication[]): ProgramOptions {
  return { applications, ports: portsOf(applications).map(portOption) }
}

/** Adds a flag for each option, and `--config`. */
export function addOptionFlags(command: Command, ports: ProgramOptions['ports']): Command {
  command.option(
    '--config <file>',
    'file of NAME=value lines, as `roomcast default-config` prints them; flags and the environment come first',
  )
  for (const option of optionsWith(ports)) {
    const fallback = option.default === '' ? '' : `, default ${option.default}`
    command.option(
      `${flagOf(option)} <value>`,
      `${option.about} [${option.env}${option.unit ? `, ${option.unit}` : ''}${fallback}]`,
    )
  }
  return command
}

/** Flags override the environment, which overrides the file. @throws BrokerError CONFIG_INVALID */
export function configFrom(flags: Flags, ports: ProgramOptions['ports']): Config {
  return loadConfig(environment(flags, ports), ports)
}

/** The same configuration with the ports only of applications that are served. @throws BrokerError CONFIG_INVALID */
export function withServedPorts(config: Config, { applications }: ProgramOptions): Config {
  const served = portsOf(chooseApplications(applications, config.applications))
  return {
    ...config,
    contractPorts: Object.fromEntries(served.map(({ option }) => [option, config.contractPorts[option] as number])),
  }
}

function environment(flags: Flags, ports: ProgramOptions['ports']): NodeJS.Dict<string> {
  const env: NodeJS.Dict<string> = { ...readFile(flags.config), ...process.env }
  for (const option of optionsWith(ports)) {
    const value = flags[camel(option.env)]
    if (value !== undefined) env[option.env] = value
  }
  return env
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
