import { SOCKET_IO_APPLICATIONS } from '../commands.ts'
import type { Random } from '../random.ts'
import { Player, type PortName, roughened, type Script, type Step, upgradeText } from '../script.ts'
import { surface } from '../surface.ts'
import { anyToken } from '../tokens.ts'
import { oddText, urlPart } from '../values.ts'
import { packetsOf } from './socketio-packets.ts'

const SEPARATOR = '\u001e'
const POLL = 0
const POST = 1
const PROBE = 2
const OTHER = 3

export const engineio = surface<Script>({
  name: 'engineio',
  about: 'Engine.IO: long-polling payloads, polls and posts at once, probes and upgrades of every order',
  concurrency: 64,
  make: makeEngineSession,
  open: async (world) => {
    const player = new Player(world.ports)
    return { send: (script) => player.play(script), close: async () => player.close() }
  },
})

function makeEngineSession(random: Random): Script {
  const application = random.pick(SOCKET_IO_APPLICATIONS)
  const { port } = application
  const payloads = payloadsOf(packetsOf(application, random), random)
  const query = random.chance(0.93)
    ? 'EIO=4&transport=polling'
    : random.pick([
        'EIO=3&transport=polling',
        'transport=polling',
        'EIO=4',
        'EIO=4&transport=websocket',
        'EIO=4&transport=__proto__',
        `EIO=4&transport=polling&sid=${urlPart(oddText(random))}`,
        'EIO=4&transport=polling&sid=7.0',
        '&&&=%',
      ])
  const token = random.chance(0.15) ? `&token=${urlPart(anyToken(random))}` : ''
  const steps: Step[] = [
    { open: port },
    { on: POST, open: port },
    { text: get(`${query}${token}`, random) },
    { waitMs: 300 },
  ]
  for (const payload of payloads) steps.push(...exchange(payload, port, random))
  if (random.chance(0.5)) steps.push(...upgrade(port, random))
  for (const payload of random.some(3, () => random.pick(['2', '3', '1', '6', SEPARATOR, ''])))
    steps.push(...exchange(payload, port, random))
  return { steps: roughened(steps, random), stays: random.chance(0.15) }
}

/** Bodies of POST requests: several packets in one, or one; attachments in base64. */
function payloadsOf(packets: readonly (string | Uint8Array)[], random: Random): string[] {
  const encoded = packets.map((packet) =>
    typeof packet === 'string' ? `4${packet}` : `b${Buffer.from(packet).toString('base64')}`,
  )
  const payloads: string[] = []
  while (encoded.length > 0) {
    const some = encoded.splice(0, 1 + random.int(5))
    if (random.chance(0.1))
      some.splice(
        random.int(some.length + 1),
        0,
        random.pick(['3', '2', '1', '6', '5', '0', 'b', 'bnot base64!', 'b===', '', '2probe', '9', SEPARATOR]),
      )
    payloads.push(some.join(SEPARATOR) + (random.chance(0.05) ? SEPARATOR : ''))
  }
  return payloads
}

function exchange(payload: string, port: PortName, random: Random): Step[] {
  const query = random.chance(0.97) ? 'EIO=4&transport=polling&sid={sid}' : 'EIO=4&transport=polling&sid={sid}x'
  const post: Step = { on: POST, text: request('POST', query, random, payload) }
  const poll: Step = { on: POLL, text: get(query, random) }
  const pause: Step = { on: POST, waitMs: random.pick([50, 50, 5, 0]) }
  return random.one<Step[]>(
    () => [post, pause, poll],
    () => [poll, post, pause],
    () => [post, pause],
    () => [post, post, pause],
    () => [poll, { on: OTHER, open: port }, { ...poll, on: OTHER }, pause],
    () => [poll, { on: POLL, end: 'reset' }, { on: POLL, open: port }, post],
    () => [
      { on: OTHER, open: port },
      { on: OTHER, text: unfinished(query, payload) },
      ...(random.chance(0.5) ? [{ on: OTHER, end: 'reset' } as const] : []),
      post,
    ],
  )
}

function upgrade(port: PortName, random: Random): Step[] {
  const open = (on: number): Step[] => [
    { on, open: port },
    { on, text: upgradeText('/socket.io/?EIO=4&transport=websocket&sid={sid}') },
    { on, waitMs: 100 },
  ]
  const probe: Step = { on: PROBE, frame: '2probe' }
  const answered: Step = { on: PROBE, waitMs: 50 }
  const change: Step = { on: PROBE, frame: '5' }
  const packets = random.some(
    4,
    (): Step => ({
      on: PROBE,
      frame: random.pick<string | Uint8Array>([
        '42["ping"]',
        '3',
        '40',
        '2probe',
        '5',
        '451-["x",{"_placeholder":true,"num":0}]',
        Buffer.from([1, 2]),
      ]),
    }),
  )
  return [
    ...open(PROBE),
    ...random.one<Step[]>(
      () => [probe, answered, { text: get('EIO=4&transport=polling&sid={sid}', random) }, change, ...packets],
      () => [probe, change, ...packets],
      () => [change, ...packets],
      () => [probe, probe, probe, change, change],
      () => [probe, answered, ...open(OTHER), { on: OTHER, frame: '2probe' }, change],
      () => [probe, { on: PROBE, end: 'reset' }, ...open(PROBE), probe, answered, change, ...packets],
      () => [
        {
          on: PROBE,
          frame: random.pick<string | Uint8Array>([
            '2',
            'probe',
            '4x',
            '2probex',
            Buffer.from('2probe'),
            random.bytes(9),
          ]),
        },
        change,
      ],
      () => [],
    ),
  ]
}

const get = (query: string, random: Random) => request('GET', query, random)

function request(method: string, query: string, random: Random, body?: string): string {
  const origin = random.chance(0.03) ? `Origin: ${oddText(random).replace(/[\r\n]/g, '')}\r\n` : ''
  const length =
    body === undefined
      ? ''
      : `Content-Type: text/plain;charset=UTF-8\r\nContent-Length: ${random.chance(0.98) ? Buffer.byteLength(body) : random.pick([0, 1, 99_999_999, -1, 'x'])}\r\n`
  return `${method} /socket.io/?${query} HTTP/1.1\r\nHost: 127.0.0.1\r\n${origin}${length}\r\n${body ?? ''}`
}

/** A body that does not come. */
function unfinished(query: string, body: string): string {
  return `POST /socket.io/?${query} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${Buffer.byteLength(body) + 100}\r\n\r\n${body}`
}
