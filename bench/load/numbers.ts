/**
 * Reads the bench's numbers off an event's bytes without decoding it. Within one server's frames they stand at the same
 * place, so a search is needed once.
 */
export interface Numbers {
  /** Number of the event within its series, from 1. */
  readonly n: number
  /** When it was due, µs. */
  readonly t: number
  /** Its series. */
  readonly k: number
  /** @returns false: this is no event of the bench */
  read(bytes: Buffer, start: number, end: number): boolean
}

const QUOTE = 34
const ZERO = 48
const N = 110
const T = 116
const K = 107
/** Shorter than any event. */
const EVENT_BYTES_MIN = 24
/** Between the digits of one number and those of the next: `,"t":`. */
const KEY_BYTES = 5

/** `"n":12,"t":345,"k":6`, the series left out where it is 0; as text anywhere in the frame. */
export class JsonNumbers implements Numbers {
  n = 0
  t = 0
  k = 0
  private offset = 0

  read(bytes: Buffer, start: number, end: number): boolean {
    if (end - start < EVENT_BYTES_MIN) return false
    let at = start + this.offset
    if (this.offset === 0 || bytes[at - 4] !== QUOTE || bytes[at - 3] !== N || bytes[at - 2] !== QUOTE) {
      const found = bytes.subarray(start, end).indexOf('"n":', 0, 'latin1')
      if (found === -1) return false
      this.offset = found + 4
      at = start + this.offset
    }
    let digit = 0
    let n = 0
    for (; (digit = (bytes[at] as number) - ZERO) >= 0 && digit <= 9; at++) n = n * 10 + digit
    let t = 0
    for (at += KEY_BYTES; (digit = (bytes[at] as number) - ZERO) >= 0 && digit <= 9; at++) t = t * 10 + digit
    let k = 0
    if (bytes[at + 2] === K && bytes[at + 1] === QUOTE)
      for (at += KEY_BYTES; (digit = (bytes[at] as number) - ZERO) >= 0 && digit <= 9; at++) k = k * 10 + digit
    this.n = n
    this.t = t
    this.k = k
    return true
  }
}

const FIXSTR_1 = 0xa1
const UINT_8 = 0xcc
const UINT_16 = 0xcd
const UINT_32 = 0xce
const FLOAT_64 = 0xcb
const UINT_64 = 0xcf

/** The same in msgpack: keys `n`, `t`, `k` in this order, each one byte long. */
export class MsgpackNumbers implements Numbers {
  n = 0
  t = 0
  k = 0
  private offset = 0
  private at = 0

  read(bytes: Buffer, start: number, end: number): boolean {
    if (end - start < EVENT_BYTES_MIN) return false
    if (this.offset === 0 || !isKey(bytes, start + this.offset, N)) {
      let at = start
      while (at < end - 2 && !(isKey(bytes, at, N) && isKeyAfterNumber(bytes, at + 2, T))) at++
      if (at >= end - 2) return false
      this.offset = at - start
    }
    this.at = start + this.offset + 2
    this.n = this.number(bytes)
    this.at += 2
    this.t = this.number(bytes)
    this.k = 0
    if (isKey(bytes, this.at, K)) {
      this.at += 2
      this.k = this.number(bytes)
    }
    return true
  }

  private number(bytes: Buffer): number {
    const { at } = this
    const kind = bytes[at] as number
    this.at += 1 + numberBytes(kind)
    if (kind < 0x80) return kind
    if (kind === UINT_8) return bytes[at + 1] as number
    if (kind === UINT_16) return bytes.readUInt16BE(at + 1)
    if (kind === UINT_32) return bytes.readUInt32BE(at + 1)
    if (kind === UINT_64) return Number(bytes.readBigUInt64BE(at + 1))
    if (kind === FLOAT_64) return bytes.readDoubleBE(at + 1)
    throw new Error(`no number in msgpack: ${kind.toString(16)}`)
  }
}

function isKey(bytes: Buffer, at: number, letter: number): boolean {
  return bytes[at] === FIXSTR_1 && bytes[at + 1] === letter
}

function isKeyAfterNumber(bytes: Buffer, at: number, letter: number): boolean {
  return isKey(bytes, at + 1 + numberBytes(bytes[at] as number), letter)
}

/** Bytes behind a number's first. */
function numberBytes(kind: number): number {
  return kind === UINT_8
    ? 1
    : kind === UINT_16
      ? 2
      : kind === UINT_32
        ? 4
        : kind === UINT_64 || kind === FLOAT_64
          ? 8
          : 0
}

/**
 * Sequence of the position that a frame ends with.
 * @param end behind its last digit
 * @returns 0 where there is none
 */
export function readSequence(bytes: Buffer, end: number): number {
  let sequence = 0
  let scale = 1
  for (let at = end - 1; ; at--) {
    const digit = (bytes[at] as number) - ZERO
    if (!(digit >= 0 && digit <= 9)) return bytes[at] === 45 ? sequence : 0
    sequence += digit * scale
    scale *= 10
  }
}

/** Epoch of the position that a frame ends with. */
export function readEpoch(bytes: Buffer, start: number, end: number): string {
  return /([A-Za-z0-9]+)-\d+$/.exec(bytes.toString('latin1', Math.max(start, end - 80), end))?.[1] ?? ''
}
