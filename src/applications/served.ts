import type { Contract } from '../contracts/contract.ts'
import { loadContract } from '../contracts/load.ts'
import { nearest } from '../contracts/nearest.ts'
import { portsOf } from '../contracts/ports.ts'
import { BrokerError } from '../errors.ts'
import { BUILT_IN_CONTRACTS } from './built-in.ts'

export interface ServedOptions {
  /** Paths of further contracts. */
  readonly contracts: readonly string[]
  /** The names of those to serve. Empty: all. */
  readonly applications: readonly string[]
  /** The ports that are open for them, by option, besides PORT. */
  readonly contractPorts: Readonly<Record<string, number>>
}

/**
 * Loads the contracts of the applications that are served.
 * @throws BrokerError CONTRACT_INVALID; CONFIG_INVALID if there is no such application, or if they name other ports
 * than the program began with
 */
export async function servedContracts(options: ServedOptions): Promise<readonly Contract[]> {
  const further = await Promise.all(options.contracts.map(loadContract))
  const served = chooseApplications([...BUILT_IN_CONTRACTS, ...further], options.applications)
  const named = portsOf(served).map(({ option }) => option)
  const open = Object.keys(options.contractPorts)
  if (named.toSorted().join() !== open.toSorted().join())
    throw new BrokerError(
      'CONFIG_INVALID',
      `CONTRACTS, APPLICATIONS: the applications now name ${listed(named)}, and the program began with ${listed(open)}; it needs a restart`,
    )
  return served
}

/** @throws BrokerError CONFIG_INVALID if a name is that of no application */
export function chooseApplications<A extends { readonly app: string }>(
  all: readonly A[],
  names: readonly string[],
): readonly A[] {
  const known = all.map(({ app }) => app)
  const faults = names
    .filter((name) => !known.includes(name))
    .map((name) => {
      const near = nearest(name, known)
      return `APPLICATIONS=${name}: there is no such application; ${near === undefined ? '' : `did you mean ${near}? `}there are ${known.join(', ')}`
    })
  if (faults.length > 0) throw new BrokerError('CONFIG_INVALID', faults.join('\n'), faults)
  return names.length === 0 ? all : all.filter(({ app }) => names.includes(app))
}

function listed(options: readonly string[]): string {
  return options.length === 0 ? 'no port of their own' : options.join(', ')
}
