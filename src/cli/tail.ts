import type { Command } from 'commander'
import WebSocket from 'ws'
import { withDevelopmentKeys } from '../config/development.ts'
import { loadConfig } from '../config/load.ts'
import { BUILT_IN_CONTRACTS } from '../applications/built-in.ts'
import { loadContract } from '../contracts/load.ts'
import { portOf } from '../contracts/ports.ts'
import { BrokerError } from '../errors.ts'
import { mintToken } from './token.ts'

const BACK_MS = 1_000
const TOKEN_TTL_S = 86_400

interface Flags {
  readonly host: string
  readonly port?: string
  readonly token?: string
  readonly events?: string
  readonly rooms?: string
  readonly filter: readonly string[]
  readonly since?: string
  readonly json?: boolean
}

export function addTail(program: Command): void {
  program
    .command('tail')
    .description('connect as a client and print what arrives; goes on after the last event when the connection breaks')
    .argument('[app]', 'the application', 'game-djinn')
    .option('--host <host>', "the broker's host", '127.0.0.1')
    .option('--port <port>', "the broker's port; default: the application's")
    .option('--token <token>', "default: one minted with JWT_SECRET or this folder's development key")
    .option('--events <list>', 'events and event groups, comma separated; default: all')
    .option('--rooms <list>', 'rooms to join, comma separated')
    .option(
      '--filter <name=value>',
      'a filter; may be given several times',
      (value: string, all: string[]) => [...all, value],
      [],
    )
    .option('--since <position>', 'first what came after this position')
    .option('--json', 'print whole frames, one JSON line each')
    .action(async (app: string, flags: Flags) => {
      const { config } = withDevelopmentKeys(loadConfig(process.env))
      const contracts = [...BUILT_IN_CONTRACTS, ...(await Promise.all(config.contracts.map(loadContract)))]
      const contract = contracts.find((candidate) => candidate.app === app)
      if (!contract)
        throw new BrokerError(
          'UNKNOWN_APP',
          `No contract serves "${app}"; there are ${contracts.map((known) => known.app).join(', ')} (CONTRACTS names further ones)`,
        )
      const token = flags.token ?? mintOwn(config.jwtSecret)
      const subscribe = {
        events:
          flags.events?.split(',') ??
          (flags.rooms ? [] : Object.keys(contract.events).filter((type) => !contract.events[type]?.rooms)),
        ...(flags.rooms ? { rooms: flags.rooms.split(',') } : undefined),
        filters: filtersOf(flags.filter),
      }
      const endpoint = contract.endpoints.find((candidate) => candidate.transport === 'websocket')
      if (!endpoint)
        throw new BrokerError('UNKNOWN_APP', `${app} has no raw WebSocket endpoint, and tail speaks no Socket.IO yet`)
      await follow(
        `ws://${flags.host}:${flags.port ?? process.env[portOf(contract)] ?? contract.port?.default ?? config.port}${endpoint.path}`,
        token,
        subscribe,
        flags.since,
        flags.json === true,
      )
    })
}

function mintOwn(secret: string): string {
  if (secret === '') throw new BrokerError('AUTH_MISSING', 'Give a --token; only JWT_SECRET can mint one')
  return mintToken(secret, 'dev', TOKEN_TTL_S, { roles: ['admin'] })
}

/** Prints frames and reconnects until the broker's close code says that reconnecting is useless. */
async function follow(
  url: string,
  token: string,
  subscribe: object,
  from: string | undefined,
  whole: boolean,
): Promise<void> {
  let since = from
  for (;;) {
    const socket = new WebSocket(url, { headers: { Authorization: `Bearer ${token}` } })
    const code = await new Promise<number>((resolve) => {
      socket.on('open', () =>
        socket.send(
          JSON.stringify({
            type: 'subscribe',
            data: { ...subscribe, ...(since === undefined ? undefined : { since }) },
          }),
        ),
      )
      socket.on('message', (frame) => {
        const text = frame.toString()
        const { type, data, timestamp, id } = JSON.parse(text)
        if (typeof id === 'string' && type !== 'subscribed') since = id
        console.log(whole ? text : `${timestamp}  ${type}  ${JSON.stringify(data)}`)
      })
      socket.on('error', (error) => console.error(`roomcast tail: ${url}: ${error.message}`))
      socket.on('close', resolve)
    })
    if (code >= 4400 && code < 4500)
      throw new BrokerError('AUTH_FAILED', `The broker closed the connection with ${code}`)
    console.error(`roomcast tail: connection closed (${code}), coming back`)
    await new Promise((resolve) => setTimeout(resolve, BACK_MS))
  }
}

function filtersOf(pairs: readonly string[]): Record<string, string[]> {
  const filters: Record<string, string[]> = {}
  for (const pair of pairs) {
    const equals = pair.indexOf('=')
    if (equals < 1) throw new BrokerError('UNKNOWN_FILTER', `--filter ${pair}: wants name=value`)
    ;(filters[pair.slice(0, equals)] ??= []).push(pair.slice(equals + 1))
  }
  return filters
}
