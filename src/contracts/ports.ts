import { BrokerError } from '../errors.ts'

/** The option that says a port's number. */
export interface ContractPort {
  /** In capitals, with `_PORT` at the end: `SHOP_PORT`. Contracts that name the same option share the port. */
  readonly option: string
  /** The number where the option is not set. 0: a free one. */
  readonly default: number
}

/** The port of contracts that name none. The HTTP API is there too. */
export const MAIN_PORT = 'PORT'

type WithPort = { readonly app: string; readonly port?: ContractPort }

/** The option of the port on which a contract's endpoints are. */
export function portOf({ port }: { readonly port?: ContractPort }): string {
  return port?.option ?? MAIN_PORT
}

/**
 * The ports that contracts name, each with its applications.
 * @throws BrokerError CONTRACT_INVALID if two contracts give one option different defaults
 */
export function portsOf(contracts: readonly WithPort[]): (ContractPort & { readonly apps: readonly string[] })[] {
  const ports = new Map<string, ContractPort & { readonly apps: string[] }>()
  for (const { app, port } of contracts) {
    if (port === undefined) continue
    const before = ports.get(port.option)
    if (before === undefined) ports.set(port.option, { ...port, apps: [app] })
    else if (before.default === port.default) before.apps.push(app)
    else
      throw new BrokerError(
        'CONTRACT_INVALID',
        `Contract ${app}: ${port.option} has the default ${port.default} here, and ${before.default} in ${before.apps[0]}`,
      )
  }
  return [...ports.values()]
}
