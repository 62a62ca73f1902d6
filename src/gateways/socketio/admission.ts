import type { CompiledContract } from '../../contracts/compiled.ts'
import { BrokerError } from '../../errors.ts'
import type { Bans } from '../../state/bans.ts'
import { BurstState, type BurstVerdict, countBurst } from '../../guard/burst-limit.ts'

const PASS: BurstVerdict = { pass: true }

/** The limits of contracts that punish floods: events of a connection, connections of a user, bans. */
export class Admission {
  private readonly bans: Bans
  private readonly connections = new Map<string, Map<object, number>>()
  private readonly states = new WeakMap<object, Map<CompiledContract, BurstState>>()

  constructor(bans: Bans) {
    this.bans = bans
  }

  /** Counts a connection of a user. @throws BrokerError BANNED or TOO_MANY_CONNECTIONS */
  enter({ app, contract }: CompiledContract, userId: string, connection: object): void {
    const burst = contract.limits?.burst
    if (!burst) return
    const seconds = this.bans.secondsLeft(app, userId)
    if (seconds > 0)
      throw new BrokerError('BANNED', `Too many refused events; come back in ${seconds} s`, { retry_after: seconds })
    const key = `${app} ${userId}`
    const open = this.connections.get(key) ?? new Map<object, number>()
    if (!open.has(connection) && open.size >= burst.connectionsPerUser)
      throw new BrokerError('TOO_MANY_CONNECTIONS', `A user may have ${burst.connectionsPerUser} connections`)
    open.set(connection, (open.get(connection) ?? 0) + 1)
    this.connections.set(key, open)
  }

  leave({ app, contract }: CompiledContract, userId: string, connection: object): void {
    if (!contract.limits?.burst) return
    const key = `${app} ${userId}`
    const open = this.connections.get(key)
    const left = (open?.get(connection) ?? 1) - 1
    if (left > 0) open?.set(connection, left)
    else open?.delete(connection)
    if (open?.size === 0) this.connections.delete(key)
  }

  /** Counts an event of a client. The last strike bans its user. */
  count(contract: CompiledContract, userId: string, connection: object, nowMs: number): BurstVerdict {
    const burst = contract.contract.limits?.burst
    if (!burst) return PASS
    let states = this.states.get(connection)
    if (!states) this.states.set(connection, (states = new Map()))
    let state = states.get(contract)
    if (!state) states.set(contract, (state = new BurstState()))
    const verdict = countBurst(state, burst, nowMs)
    if (!verdict.pass && verdict.ban && userId !== '') this.bans.add(contract.app, userId, burst.banMs)
    return verdict
  }
}
