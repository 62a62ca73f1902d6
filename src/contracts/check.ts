import { BrokerError } from '../errors.ts'
import { CLIENT_PORTS, type Contract } from './contract.ts'

/**
 * Whether it has a contract's shape; what it holds is checked as it is compiled.
 * @throws BrokerError CONTRACT_INVALID
 */
export function checkContract(contract: Contract): void {
  const fail = (reason: string): never => {
    throw new BrokerError('CONTRACT_INVALID', `Contract ${typeof contract?.app === 'string' ? contract.app : '(no app)'}: ${reason}`)
  }
  if (typeof contract !== 'object' || contract === null) fail('the file exports no contract; export default defineContract({…})')
  if (typeof contract.app !== 'string' || !/^[a-z0-9][a-z0-9-]{0,63}$/.test(contract.app)) fail('`app` wants lower case letters, digits and dashes')
  if (contract.port !== undefined && !CLIENT_PORTS.includes(contract.port)) fail(`there is no port "${String(contract.port)}"; there are ${CLIENT_PORTS.join(', ')}`)
  if (!Array.isArray(contract.endpoints) || contract.endpoints.length === 0) fail('`endpoints` names no endpoint')
  for (const endpoint of contract.endpoints) {
    if (endpoint.transport === 'websocket') {
      if (typeof endpoint.path !== 'string' || !endpoint.path.startsWith('/')) fail('an endpoint\'s `path` wants a leading slash')
    } else if (endpoint.transport === 'socketio') {
      if (typeof endpoint.namespace !== 'string' || !endpoint.namespace.startsWith('/')) fail('an endpoint\'s `namespace` wants a leading slash')
    } else fail(`there is no transport "${String((endpoint as { transport: unknown }).transport)}"; there are websocket and socketio`)
  }
  for (const [name, { effect }] of Object.entries(contract.commands ?? {})) {
    if ((effect?.use === 'lock' || effect?.use === 'unlock') && !contract.locks) fail(`command "${name}" has the effect ${effect.use}; \`locks\` says which events that makes`)
  }
  if (typeof contract.events !== 'object' || contract.events === null || Object.keys(contract.events).length === 0) fail('`events` names no event')
  if (contract.questions && !contract.endpoints.some(({ transport }) => transport === 'socketio')) fail('`questions` are answered by Socket.IO clients, and there is no such endpoint')
}
