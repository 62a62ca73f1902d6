import type { Command } from 'commander'
import { withDevelopmentKeys } from '../config/development.ts'
import { warningsOf } from '../config/load.ts'
import { type Config, OPTIONS, type Option, type OptionName } from '../config/options.ts'
import { optionsWith } from '../config/port-options.ts'
import { shown } from '../config/shown.ts'
import { checkFiles } from '../config/files.ts'
import { BUILT_IN_CONTRACTS } from '../applications/built-in.ts'
import { servedContracts } from '../applications/served.ts'
import { checkTogether } from '../contracts/check.ts'
import type { Contract } from '../contracts/contract.ts'
import { addOptionFlags, configFrom, type ProgramOptions, withServedPorts } from './options.ts'

export function addDefaultConfig(program: Command, { ports }: ProgramOptions): void {
  program
    .command('default-config')
    .description('print every option with its default, as a file for --config')
    .action(() => console.log(defaultConfig(ports)))
}

export function addCheckConfig(program: Command, options: ProgramOptions): void {
  addOptionFlags(
    program
      .command('check-config')
      .description('check the options and contracts, say what is wrong, and start nothing'),
    options.ports,
  ).action(async (flags) => {
    const { config, development } = withDevelopmentKeys(withServedPorts(configFrom(flags, options.ports), options))
    checkFiles(config)
    const served = await servedContracts(config)
    checkTogether(served)
    for (const option of changedOptions(config, options.ports)) console.log(option)
    const names = served.map(({ app }) => app)
    const others = options.applications.map(({ app }) => app).filter((app) => !names.includes(app))
    if (others.length > 0) console.log(`# not in APPLICATIONS, so not served: ${others.join(', ')}`)
    for (const contract of served.filter((one) => !BUILT_IN_CONTRACTS.includes(one))) {
      console.log(`# contract ${contract.app}: ${Object.keys(contract.events).length} events`)
      for (const room of openRooms(contract))
        console.log(
          `#   room ${room}: ${contract.endpoints.some((endpoint) => endpoint.transport === 'socketio' && endpoint.anonymous) ? 'anybody' : 'anybody with a token'} may join it, as it has no \`allows\``,
        )
    }
    for (const warning of warningsOf(config)) console.log(`# warning: ${warning}`)
    console.log(
      development
        ? '# The configuration is valid. No key is set: a development key is used, on 127.0.0.1 alone.'
        : '# The configuration is valid.',
    )
    // A contract may have begun what would keep the process, such as a timer.
    process.exit()
  })
}

/** The rooms of a contract that anyone may join. */
function openRooms({ rooms = {} }: Contract): string[] {
  return Object.entries(rooms)
    .filter(([, { allows, record }]) => !allows && !record)
    .map(([name]) => name)
}

/** The options that have another value than their default. */
function changedOptions(config: Config, ports: readonly Option[]): string[] {
  const table = (Object.entries(OPTIONS) as [OptionName, Option][]).map(([name, option]) => ({
    option,
    value: config[name],
    text: shown(name, config[name]),
  }))
  const ofContracts = ports
    .map((option) => ({
      option,
      value: config.contractPorts[option.env],
      text: String(config.contractPorts[option.env]),
    }))
    .filter(({ value }) => value !== undefined)
  return [...table, ...ofContracts]
    .filter(({ option, value }) => String(value) !== String(option.default))
    .map(({ option, text }) => `${option.env}=${text}`)
}

function defaultConfig(ports: readonly Option[]): string {
  const lines = ['# Roomcast options. Uncomment what you change, and start with: roomcast serve --config <this file>']
  let group = ''
  for (const option of optionsWith(ports)) {
    if (option.group !== group) lines.push('', `# --- ${(group = option.group)} ---`)
    lines.push('', `# ${option.about}${option.unit ? ` (${option.unit})` : ''}`, `#${option.env}=${option.default}`)
  }
  return lines.join('\n')
}
