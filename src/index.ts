/** The package's public API: what a contract of your own is written with. See docs/contracts.md. */
export { Type } from 'typebox'
export {
  type AccessContract,
  type AnyEvent,
  type CommandContract,
  type Contract,
  command,
  defineContract,
  type EventContract,
  event,
  type FilterContract,
  type LimitsContract,
  type Message,
  type ClientRequestContract,
  type RoomContract,
  type SocketIoEndpoint,
  type SubjectContract,
  type WebSocketEndpoint,
} from './contracts/contract.ts'
export type { Action, ForwardAction, QueryAction } from './contracts/action.ts'
export { BrokerError, ERRORS, type ErrorCode } from './errors.ts'
export { type Claims, claimNames, listClaim, type User, userOf } from './contracts/claims.ts'
export type { Command } from './contracts/command.ts'
export type { Lock } from './contracts/lock.ts'
