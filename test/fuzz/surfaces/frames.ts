import { jsonBytes, jsonText, msgpackBytes } from '../bodies.ts'
import { builtInCommand, CONTRACTS, validCommand } from '../commands.ts'
import type { Random } from '../random.ts'
import { Player, roughened, type Script, type Step, upgradeText } from '../script.ts'
import { surface } from '../surface.ts'
import { anyToken, validToken } from '../tokens.ts'
import { mutated, ODD_KEYS, oddText, oddValue, urlPart } from '../values.ts'

const [gameDjinn] = CONTRACTS as [(typeof CONTRACTS)[number]]
const TEXT = 0x81
const CONTINUATION = 0x00

export const frames = surface<Script>({
  name: 'frames',
  about: 'raw WebSocket: handshakes, JSON and msgpack frames, fragments',
  concurrency: 64,
  make: makeRawSession,
  open: async (world) => {
    const player = new Player(world.ports)
    return { send: (script) => player.play(script), close: async () => player.close() }
  },
})

function makeRawSession(random: Random): Script {
  const msgpack = random.chance(0.4)
  const inHeader = random.chance(0.2)
  const token = random.chance(0.8) ? validToken(random) : anyToken(random)
  const format = random.pick([
    msgpack ? 'msgpack' : 'json',
    msgpack ? 'msgpack' : 'json',
    msgpack ? 'msgpack' : 'json',
    oddText(random),
  ])
  const path = `${random.pick(['/ws', '/ws', '/fuzz', '/ws/'])}?format=${urlPart(format)}${inHeader ? '' : `&token=${urlPart(token)}`}`
  const headers = [
    ...(inHeader ? [`Authorization: Bearer ${token}`] : []),
    ...(random.chance(0.1)
      ? [
          `Sec-WebSocket-Protocol: ${random.pick(['roomcast.msgpack', 'roomcast.json', '__proto__', ', ,', oddText(random)])}`,
        ]
      : []),
    ...(random.chance(0.1) ? [`Origin: ${oddText(random)}`] : []),
  ]
  const steps: Step[] = [{ open: 'PORT' }, { text: upgradeText(path, headers) }, { waitMs: 200 }]
  for (const message of random.some(25, () => rawMessage(random)))
    steps.push(...framesOf(message, msgpack !== random.chance(0.03), random))
  return { steps: roughened(steps, random), stays: random.chance(0.1) }
}

function rawMessage(random: Random): unknown {
  const { type, data } = random.chance(0.6) ? builtInCommand(gameDjinn, random) : validCommand(gameDjinn, random)
  const message = {
    type,
    data: type === 'authenticate' ? { token: anyToken(random) } : data,
    ...(random.chance(0.4) ? { id: random.pick([1, 'a', oddValue(random, 1)]) } : undefined),
  }
  if (random.chance(0.45)) return message
  return random.one<unknown>(
    () => mutated(message, random),
    () => ({ ...message, data: mutated(data, random) }),
    () => ({ ...message, type: random.pick([...ODD_KEYS, oddText(random)]) }),
    () => oddValue(random),
  )
}

function framesOf(message: unknown, msgpack: boolean, random: Random): Step[] {
  const frame = msgpack
    ? msgpackBytes(message, random)
    : random.chance(0.9)
      ? jsonText(message, random)
      : jsonBytes(message, random)
  if (random.chance(0.95)) return [{ frame, ...(typeof frame === 'string' || msgpack ? undefined : { first: TEXT }) }]
  const bytes = Buffer.from(frame as string)
  const at = random.int(bytes.length + 1)
  return [
    { frame: bytes.subarray(0, at), first: msgpack ? 0x02 : 0x01 },
    { frame: bytes.subarray(at), first: CONTINUATION | (random.chance(0.9) ? 0x80 : 0) },
  ]
}
