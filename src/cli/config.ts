import type { Command } from 'commander'
import { withDevelopmentKeys } from '../config/development.ts'
import { warningsOf } from '../config/load.ts'
import { OPTIONS, type Option } from '../config/options.ts'
import { shown } from '../config/shown.ts'
import { checkTlsFiles } from '../config/tls-files.ts'
import { BUILT_IN_CONTRACTS } from '../applications/built-in.ts'
import { checkTogether } from '../contracts/check.ts'
import type { Contract } from '../contracts/contract.ts'
import { loadContract } from '../contracts/load.ts'
import { addOptionFlags, configFrom } from './options.ts'

export function addDefaultConfig(program: Command): void {
  program
    .command('default-config')
    .description('print every option with its default, as a file for --config')
    .action(() => console.log(defaultConfig()))
}

export function addCheckConfig(program: Command): void {
  addOptionFlags(
    program
      .command('check-config')
      .description('check the options and contracts, say what is wrong, and start nothing'),
  ).action(async (flags) => {
    const { config, development } = withDevelopmentKeys(configFrom(flags))
    checkTlsFiles(config)
    const contracts = await Promise.all(config.contracts.map(loadContract))
    checkTogether([...BUILT_IN_CONTRACTS, ...contracts])
    for (const [name, option] of Object.entries(OPTIONS) as [keyof typeof OPTIONS, Option][]) {
      const value = config[name]
      if (String(value) === String(option.default)) continue
      console.log(`${option.env}=${shown(name, value)}`)
    }
    for (const contract of contracts) {
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
  })
}

/** The rooms of a contract that anyone may join. */
function openRooms({ rooms = {} }: Contract): string[] {
  return Object.entries(rooms)
    .filter(([, { allows, record }]) => !allows && !record)
    .map(([name]) => name)
}

function defaultConfig(): string {
  const lines = ['# Roomcast options. Uncomment what you change, and start with: roomcast serve --config <this file>']
  let group = ''
  for (const option of Object.values(OPTIONS) as Option[]) {
    if (option.group !== group) lines.push('', `# --- ${(group = option.group)} ---`)
    lines.push('', `# ${option.about}${option.unit ? ` (${option.unit})` : ''}`, `#${option.env}=${option.default}`)
  }
  return lines.join('\n')
}
