import type { AnyData } from './command.ts'
/** Keys kept for each event type. Beyond that, the key that changed longest ago is dropped. */
const KEYS_MAX = 10_000
/** Bytes of their events as stored, for each event type. Decoded, the worst are about twenty times as large. */
const BYTES_MAX = 8_388_608

/** Stands for all event types: its keys are entities. */
export const ENTITIES = ''

interface LastValue {
  readonly data: unknown
  readonly timestamp: string
  readonly seq: number
  readonly bytes: number
}

/** The kept values of one event type, in order of change. */
interface KeptOfType {
  readonly keys: Map<string, LastValue>
  bytes: number
}

/**
 * The latest event of each key that an application's events mark (`lastValue`); snapshots are made from it. It follows
 * the log and knows only the log's newest part.
 */
export class LastValueCache implements LastValues {
  private readonly kept = new Map<string, KeptOfType>()

  /**
   * Notes an event. Older events, which are read again for clients that are catching up, change nothing.
   * @param bytes the size of the event as stored
   */
  note(type: string, key: string, data: unknown, timestamp: string, seq: number, bytes = 0): void {
    let ofType = this.kept.get(type)
    if (!ofType) this.kept.set(type, (ofType = { keys: new Map(), bytes: 0 }))
    const { keys } = ofType
    if ((keys.get(key)?.seq ?? -1) >= seq) return
    // Delete first, so that the map stays in order of change.
    drop(ofType, key)
    keys.set(key, { data, timestamp, seq, bytes: bytes + key.length })
    ofType.bytes += bytes + key.length
    while (keys.size > KEYS_MAX || ofType.bytes > BYTES_MAX) drop(ofType, keys.keys().next().value as string)
  }

  /**
   * Drops the values after this sequence: the stream no longer has them, because it is another one (0) or was cut
   * short.
   */
  forget(afterSeq: number): void {
    for (const ofType of this.kept.values())
      for (const [key, { seq }] of ofType.keys) if (seq > afterSeq) drop(ofType, key)
  }

  latestTime(entity: string): string | undefined {
    return this.of(ENTITIES, entity)?.timestamp
  }

  of(type: string, key: string): LastValue | undefined {
    return this.kept.get(type)?.keys.get(key)
  }

  *all(type: string): IterableIterator<LastValue> {
    yield* this.kept.get(type)?.keys.values() ?? []
  }
}

function drop(ofType: KeptOfType, key: string): void {
  const kept = ofType.keys.get(key)
  if (kept === undefined) return
  ofType.keys.delete(key)
  ofType.bytes -= kept.bytes
}

/** The last values as contracts read them: from the log's newest part, the latest event of each key (`lastValue`). */
export interface LastValues {
  of(type: string, key: string): { readonly data: AnyData; readonly timestamp: string } | undefined
  all(type: string): Iterable<{ readonly data: AnyData; readonly timestamp: string }>
  /** The time of the latest event about an entity (`entity` of events), whatever its type. */
  latestTime(entity: string): string | undefined
}
