/**
 * A position: an event's place in the log as clients see it, `<epoch>-<sequence>`.
 * The epoch names one life of the stream; a stream that was deleted and made again has another.
 */
export interface Position {
  readonly epoch: string
  readonly seq: number
}

export function formatPosition(epoch: string, seq: number): string {
  return `${epoch}-${seq}`
}

/** @returns undefined if `text` is not a position */
export function parsePosition(text: unknown): Position | undefined {
  if (typeof text !== 'string' || text.length > 80) return undefined
  const match = /^([A-Za-z0-9]{1,40})-(0|[1-9]\d{0,15})$/.exec(text)
  return match ? { epoch: match[1] as string, seq: Number(match[2]) } : undefined
}

const DASH = 45
const ZERO = 48
/** The most bytes that any codec writes after the position (`"id":"<epoch>-<seq>"}`, `"]`). */
const TAIL_BYTES_MAX = 4

/**
 * The sequence in an encoded frame. Every codec writes the position as the frame's last value, so that a frame handed
 * back by a full socket tells which event it was. Allocation-free.
 * @returns undefined for a frame that is not an event of this epoch
 */
export function seqInTail(frame: Uint8Array, epochBytes: Uint8Array): number | undefined {
  let end = frame.length
  const lowest = Math.max(0, end - TAIL_BYTES_MAX)
  while (end > lowest && !isDigit(frame[end - 1] as number)) end--
  let start = end
  while (start > 0 && isDigit(frame[start - 1] as number)) start--
  if (start === end || start === 0 || frame[start - 1] !== DASH) return undefined
  const epochStart = start - 1 - epochBytes.length
  if (epochStart < 0) return undefined
  for (let i = 0; i < epochBytes.length; i++) if (frame[epochStart + i] !== epochBytes[i]) return undefined
  let seq = 0
  for (let i = start; i < end; i++) seq = seq * 10 + ((frame[i] as number) - ZERO)
  return seq
}

function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= ZERO + 9
}
