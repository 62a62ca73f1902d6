import { Packr } from 'msgpackr'
import type { Random } from './random.ts'
import { ODD_KEYS } from './values.ts'

const packr = new Packr({ useRecords: false, mapsAsObjects: true, structuredClone: false })
const recordPackr = new Packr({ useRecords: true, structuredClone: true, moreTypes: true })

/** JSON text of a value, sometimes with what `JSON.stringify` never writes. */
export function jsonText(value: unknown, random: Random): string {
  const text = JSON.stringify(value) ?? 'null'
  if (random.chance(0.75)) return text
  const at = random.int(text.length + 1)
  return random.one(
    () => text.slice(0, at),
    () => text + random.pick(['x', '\u0000', '}', ']', ' ', '\n', text]),
    () => `${random.pick(['\ufeff', ' ', '\t\r\n', '\u0000'])}${text}`,
    () => text.replace('{', `{"${random.pick(ODD_KEYS)}":1,"${random.pick(ODD_KEYS)}":{},`),
    () =>
      text.replace(/"[^"]*"|\d+/, () =>
        random.pick(['1e999', '-0', '1E-999', '00', '0x1', '"\\ud800"', '"\\u0000"', 'NaN', '-', `${'9'.repeat(400)}`]),
      ),
    () => text.replace(/\d+|null|"[^"]*"(?!:)/, () => deep(random)),
    () => text.slice(0, at) + String.fromCharCode(random.int(0x10000)) + text.slice(at + random.int(2)),
  )
}

function deep(random: Random): string {
  const depth = random.pick([100, 100, 5_000, 5_000, 5_000, 100_000])
  return random.chance(0.5) ? '['.repeat(depth) + ']'.repeat(depth) : `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`
}

/** Bytes of JSON, sometimes no UTF-8. */
export function jsonBytes(value: unknown, random: Random): Buffer {
  const body = Buffer.from(jsonText(value, random))
  return random.chance(0.1) ? damaged(body, random) : body
}

/** msgpack of a value, sometimes with records, extensions and lengths that lie. */
export function msgpackBytes(value: unknown, random: Random): Buffer {
  const body = pack(value, random)
  if (random.chance(0.7)) return body
  return random.one(
    () => damaged(body, random),
    () => body.subarray(0, random.int(body.length)),
    () => Buffer.concat([body, random.bytes(random.int(8))]),
    () => spliced(body, random.pick(ODD_PIECES), random),
    () => Buffer.concat([Buffer.alloc(random.pick([100, 5_000, 100_000]), random.pick([0x91, 0x81])), body]),
  )
}

function pack(value: unknown, random: Random): Buffer {
  try {
    return (random.chance(0.9) ? packr : recordPackr).pack(value)
  } catch {
    return packr.pack(null)
  }
}

/** Lengths that lie, types that nobody uses, timestamps, extensions of msgpackr's own. */
const ODD_PIECES = [
  'dd7fffffff',
  'ddffffffff',
  'dfffffffff',
  'dcffff',
  'deffff',
  'dbffffffff',
  'c6ffffffff',
  'c9ffffffff00',
  'c1',
  'd6ff00000000',
  'd7ffffffffffffffffff',
  'c70cffffffffffffffffffffffffff',
  'd46900',
  'd66900000000',
  'd47000',
  'd57200a0',
  'd47201',
  'd56540',
  'd462aa',
  'c70100aa',
  'd40000',
  'd47801',
  'c7057801020304',
  'd9ff',
  'a3ff00fe',
  'a2eda0',
  'cf8000000000000000',
  'd38000000000000000',
  'cb7ff8000000000000',
  'cb7ff0000000000000',
  'ca7fc00000',
  'cb8000000000000000',
].map((hex) => Buffer.from(hex, 'hex'))

function spliced(body: Buffer, piece: Buffer, random: Random): Buffer {
  const at = random.int(body.length + 1)
  return Buffer.concat([body.subarray(0, at), piece, body.subarray(at + random.int(3))])
}

/** A few bytes are others. */
export function damaged(body: Buffer, random: Random): Buffer {
  const changed = Buffer.from(body)
  for (let i = 0; i <= random.int(4) && changed.length > 0; i++)
    changed[random.int(changed.length)] = random.pick([0, 0xff, 0xc0, 0x80, 0x1e, random.int(256)])
  return changed
}
