import type { History, Mark } from './history.ts'

/** What was published, and what of it is stored when all is over. */
export interface Truth {
  /** By room: how many numbers were acknowledged, from 0 on. The last of them was published after the last fault. */
  readonly published: ReadonlyMap<string, number>
  /** `room#n` → its sequences in the stream as it is in the end. */
  readonly stored: ReadonlyMap<string, readonly number[]>
  /** `room#n` of what was published more than once, as its acknowledgement did not come. */
  readonly repeated: ReadonlySet<string>
  /** The schedule destroys history: clients may be told that something is missing. */
  readonly destroys: boolean
}

export interface Verdict {
  readonly client: string
  /** Events that did not come though they are stored. */
  readonly lost: number
  /** Events that came again. */
  readonly doubled: number
  /** Events that came behind later ones. */
  readonly disordered: number
  /** Events that did not come, and nothing said so before a later one came. */
  readonly untold: number
  /** Times that it was told that something is missing. */
  readonly told: number
  /** Events that did not come, and that it was told of. */
  readonly missed: number
  readonly longestSilenceMs: number
  /** From each loss of its connection until it was in its rooms again. */
  readonly reconnectsMs: readonly number[]
  readonly passed: boolean
  /** The first faults, in words. */
  readonly faults: readonly string[]
}

type EventMark = Extract<Mark, { what: 'event' }>
const FAULTS_NAMED = 12

/**
 * Judges one client. It was in all its rooms, and had event 0 of each, before the first fault; its last room's last
 * event ends the run.
 */
export function judge(history: History, truth: Truth): Verdict {
  const faults: string[] = []
  const say = (fault: string) => {
    if (faults.length < FAULTS_NAMED) faults.push(fault)
  }
  const { doubled, disordered } = judgeOrder(history, truth, say)
  const missing = judgeMissing(history, truth, say)
  const told = history.marks.filter(isTold).length
  if (told > 0 && !truth.destroys) say(`was told ${told} times that events are missing, though none were destroyed`)
  const passed = doubled + disordered + missing.lost + missing.untold === 0 && (told === 0 || truth.destroys)
  return {
    client: history.client,
    ...missing,
    doubled,
    disordered,
    told,
    longestSilenceMs: longestSilenceOf(history),
    reconnectsMs: reconnectsOf(history),
    passed,
    faults,
  }
}

/** Whether a mark says that events may be missing from here on. */
function isTold(mark: Mark): boolean {
  return mark.what === 'told' || (mark.what === 'connected' && mark.recovered === false)
}

function judgeOrder(
  { marks }: History,
  { stored, repeated, destroys }: Truth,
  say: (fault: string) => void,
): { doubled: number; disordered: number } {
  let doubled = 0
  let disordered = 0
  const newestSeq = new Map<string, number>()
  const newestN = new Map<string, number>()
  const seen = new Map<string, EventMark[]>()
  let epoch = ''
  for (const mark of marks) {
    if (mark.what !== 'event') continue
    const key = `${mark.room}#${mark.n}`
    const before = seen.get(key)
    if (before !== undefined) {
      before.push(mark)
      // What was published again is stored twice where the stream was another one by then, or forgot the first.
      const mayBe = before
        .slice(0, -1)
        .every((other) =>
          other.epoch !== mark.epoch
            ? destroys && repeated.has(key)
            : other.seq !== mark.seq && (stored.get(key)?.length ?? 0) > 1,
        )
      if (!mayBe) {
        doubled++
        say(
          `${key} came again, as ${mark.epoch}-${mark.seq} after ${before
            .slice(0, -1)
            .map((other) => `${other.epoch}-${other.seq}`)
            .join(', ')}`,
        )
      }
      continue
    }
    seen.set(key, [mark])
    const returned = mark.epoch !== epoch && newestSeq.has(mark.epoch)
    const late = mark.seq <= (newestSeq.get(mark.epoch) ?? 0) || mark.n < (newestN.get(mark.room) ?? -1)
    if (returned || late) {
      disordered++
      say(
        `${key} (${mark.epoch}-${mark.seq}) came behind ${returned ? `events of ${epoch}` : `${mark.epoch}-${newestSeq.get(mark.epoch)}, ${mark.room}#${newestN.get(mark.room)}`}`,
      )
    }
    epoch = mark.epoch
    newestSeq.set(mark.epoch, Math.max(mark.seq, newestSeq.get(mark.epoch) ?? 0))
    newestN.set(mark.room, Math.max(mark.n, newestN.get(mark.room) ?? -1))
  }
  return { doubled, disordered }
}

function judgeMissing(
  { marks, rooms, kind }: History,
  { published, stored, destroys }: Truth,
  say: (fault: string) => void,
): { lost: number; untold: number; missed: number } {
  const sum = { lost: 0, untold: 0, missed: 0 }
  for (const room of rooms) {
    const events = marks.flatMap((mark, index) =>
      mark.what === 'event' && mark.room === room ? [{ n: mark.n, index }] : [],
    )
    const came = new Set(events.map(({ n }) => n))
    for (let n = 0; n < (published.get(room) ?? 0); n++) {
      if (came.has(n)) continue
      const key = `${room}#${n}`
      const after = events.find((event) => event.n > n)?.index ?? marks.length
      const before = events.findLast((event) => event.n < n && event.index < after)?.index ?? -1
      const told = marks.slice(before + 1, after).some(isTold)
      const begunAnew = kind === 'socket.io' && destroys && told && after < marks.length
      if (stored.has(key) && !begunAnew) {
        sum.lost++
        say(`${key} is stored (${stored.get(key)?.join(', ')}) and did not come${told ? ', told' : ''}`)
      }
      if (told) sum.missed++
      else {
        sum.untold++
        say(`${key} did not come, and nothing said so`)
      }
    }
  }
  return sum
}

function longestSilenceOf({ marks }: History): number {
  let longest = 0
  let lastMs: number | undefined
  for (const { what, atMs } of marks) {
    if (what !== 'event') continue
    if (lastMs !== undefined) longest = Math.max(longest, atMs - lastMs)
    lastMs = atMs
  }
  return longest
}

function reconnectsOf({ marks }: History): number[] {
  const times: number[] = []
  let sinceMs: number | undefined
  for (const { what, atMs } of marks) {
    if (what === 'disconnected') sinceMs ??= atMs
    if (what !== 'connected') continue
    if (sinceMs !== undefined) times.push(atMs - sinceMs)
    sinceMs = undefined
  }
  return times
}
