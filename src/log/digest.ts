import type { Bounds, Source } from '../source/source.ts'
import { decodeEnvelope, type EventEnvelope, type StoredMessage } from './event.ts'

/** Positions in a piece, where nothing else is said. */
const SPAN = 16_384
/** Bytes asked for at once of each subject. */
const PAGE_BYTES = 4 * 1024 * 1024
/** Pieces read at once, over all digests. */
const READS_MAX = 4
/** A piece may hold what the stream dropped so long ago; a full stream drops something all the time. */
const STALE_MS = 1_000

/** What a piece of the log comes down to. */
export interface DigestOf<P> {
  readonly make: () => P
  /** Takes in the next event. @returns about how many bytes the piece grew by */
  readonly add: (piece: P, event: EventEnvelope, bodyBytes: number) => number
  /** Positions in a piece. Fewer: less is read for what is new. */
  readonly span?: number
}

export interface DigestOptions<P> extends DigestOf<P> {
  readonly source: Source
  readonly app: string
  /** Event types. Undefined: all of the application. */
  readonly types: readonly string[] | undefined
  /** Memory for pieces. */
  readonly bytesMax: number
  /** How far back it goes, in positions. */
  readonly positionsMax: number
}

interface Piece<P> {
  value: P
  bytes: number
  readonly afterSeq: number
  upToSeq: number
  readonly madeMs: number
  /** It came to more than there is memory for: only its newest part is here. */
  cut: boolean
  /** Its latest reading. */
  ready: Promise<void>
}

/**
 * The stored log seen from its end, piece by piece, each boiled down to what one kind of question needs. Pieces are
 * read from the source by subject, kept in a bounded memory, least recently used out first, and shared: a thousand
 * clients that ask for their history cost one reading. Of the newest piece only what is new is read.
 */
export class Digest<P> {
  private readonly options: DigestOptions<P>
  private readonly span: number
  private readonly subjects: readonly string[]
  private readonly pieces = new Map<number, Piece<P>>()
  private bytes = 0
  private epoch = ''

  constructor(options: DigestOptions<P>) {
    this.options = options
    this.span = options.span ?? SPAN
    this.subjects = options.types?.map((type) => `events.${options.app}.${type}`) ?? [`events.${options.app}.>`]
  }

  /**
   * Goes through what is stored now, the newest piece first.
   * @param look false: it has seen enough
   * @returns whether it saw all that there is, or enough
   * @throws BrokerError SERVICE_UNAVAILABLE while the source is out of reach
   */
  async walk(bounds: Bounds, look: (piece: P) => boolean): Promise<boolean> {
    if (bounds.epoch !== this.epoch) this.clear(bounds.epoch)
    if (bounds.firstSeq > bounds.lastSeq) return true
    const floorSeq = Math.max(bounds.firstSeq - 1, bounds.lastSeq - this.options.positionsMax)
    for (
      let number = Math.floor((bounds.lastSeq - 1) / this.span);
      number * this.span + this.span > floorSeq && number >= 0;
      number--
    ) {
      const piece = await this.piece(number, bounds)
      if (!look(piece.value)) return true
      if (piece.cut) return false
    }
    return floorSeq === bounds.firstSeq - 1
  }

  /** The stream was cut short, or is another one: what was read of it is no longer true. */
  forget(): void {
    this.clear('')
  }

  private async piece(number: number, bounds: Bounds): Promise<Piece<P>> {
    const afterSeq = Math.max(number * this.span, bounds.firstSeq - 1)
    const upToSeq = Math.min((number + 1) * this.span, bounds.lastSeq)
    let piece = this.pieces.get(number)
    if (piece) this.drop(number, piece)
    const outdated =
      piece && piece.afterSeq < afterSeq && (piece.upToSeq <= afterSeq || Date.now() - piece.madeMs > STALE_MS)
    if (!piece || outdated)
      piece = {
        value: this.options.make(),
        bytes: 0,
        afterSeq,
        upToSeq: afterSeq,
        madeMs: Date.now(),
        cut: false,
        ready: Promise.resolve(),
      }
    this.pieces.set(number, piece)
    this.bytes += piece.bytes
    const current = piece
    current.ready = current.ready.then(() =>
      current.upToSeq < upToSeq ? reads.run(() => this.extend(number, current, upToSeq)) : undefined,
    )
    try {
      await current.ready
    } catch (error) {
      if (this.pieces.get(number) === current) this.drop(number, current)
      throw error
    }
    return current
  }

  private async extend(number: number, piece: Piece<P>, upToSeq: number): Promise<void> {
    while (piece.upToSeq < upToSeq) {
      const pages = await Promise.all(this.subjects.map((subject) => this.read(subject, piece.upToSeq, upToSeq)))
      // Events of all subjects come in one order: a page that ends early ends the others.
      const reached = Math.min(...pages.map((page) => page.reached))
      const messages = pages.flatMap((page) => page.messages).filter(({ seq }) => seq <= reached)
      for (const message of messages.sort((a, b) => a.seq - b.seq)) this.add(number, piece, message)
      piece.upToSeq = reached
    }
    for (const [oldest, { bytes }] of this.pieces) {
      if (this.bytes <= this.options.bytesMax || oldest === number) break
      this.pieces.delete(oldest)
      this.bytes -= bytes
    }
  }

  private async read(
    subject: string,
    afterSeq: number,
    upToSeq: number,
  ): Promise<{ messages: StoredMessage[]; reached: number }> {
    const messages = await this.options.source.read(afterSeq, this.span, { subject, upToSeq, bytes: PAGE_BYTES })
    const bytes = messages.reduce((sum, { body }) => sum + body.length, 0)
    return { messages, reached: bytes < PAGE_BYTES ? upToSeq : (messages[messages.length - 1] as StoredMessage).seq }
  }

  private add(number: number, piece: Piece<P>, { subject, body, msgpack, timeMs }: StoredMessage): void {
    const { app, types, bytesMax, make, add } = this.options
    let grown: number
    try {
      const event = decodeEnvelope(body, msgpack, subject.slice(`events.${app}.`.length), timeMs)
      if (types !== undefined && !types.includes(event.type)) return
      grown = add(piece.value, event, body.length)
    } catch {
      // A body that is no event, or one that the contract's functions fail on: told when it came by.
      return
    }
    piece.bytes += grown
    if (this.pieces.get(number) === piece) this.bytes += grown
    if (piece.bytes <= bytesMax) return
    if (this.pieces.get(number) === piece) this.bytes -= piece.bytes
    piece.value = make()
    piece.bytes = 0
    piece.cut = true
  }

  private drop(number: number, piece: Piece<P>): void {
    this.pieces.delete(number)
    this.bytes -= piece.bytes
  }

  private clear(epoch: string): void {
    this.pieces.clear()
    this.bytes = 0
    this.epoch = epoch
  }
}

/** Lets so many go on at once. */
class Gate {
  private running = 0
  private readonly waiting: (() => void)[] = []
  private readonly max: number

  constructor(max: number) {
    this.max = max
  }

  async run(task: () => Promise<void>): Promise<void> {
    if (this.running >= this.max) await new Promise<void>((resolve) => this.waiting.push(resolve))
    else this.running++
    try {
      await task()
    } finally {
      const next = this.waiting.shift()
      if (next) next()
      else this.running--
    }
  }
}

const reads = new Gate(READS_MAX)
