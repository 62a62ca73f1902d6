/** The package's public API: what a contract of your own is written with. See docs/contracts.md. */
export { Type } from 'typebox'
export {
  type AccessContract,
  type AnyEvent,
  type Claims,
  type Command,
  type CommandContract,
  type Contract,
  command,
  defineContract,
  type Effect,
  type EventContract,
  event,
  type FilterContract,
  type ForwardEffect,
  type LimitsContract,
  type Message,
  type QuestionContract,
  type RecallEffect,
  type RoomContract,
  type SocketIoEndpoint,
  type WebSocketEndpoint,
} from './contracts/contract.ts'
export { BrokerError, ERRORS, type ErrorCode } from './errors.ts'
