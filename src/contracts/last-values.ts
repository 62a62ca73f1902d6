import type { AnyData } from './command.ts'
/** Keys kept for each event type; beyond, the one that changed longest ago goes. */
const KEYS_MAX = 10_000
/** Of their events, as they were stored; decoded, the oddest are some twenty times as large. */
const BYTES_MAX = 8_388_608

/** Stands for all types. */
export const ENTITIES = ''

interface LastValue {
  readonly data: unknown
  readonly timestamp: string
  readonly seq: number
  readonly bytes: number
}

/** What is kept of one event type, in order of change. */
interface KeptOfType {
  readonly keys: Map<string, LastValue>
  bytes: number
}

/**
 * The latest event of each key that an application's events mark (`lastValue`): what its snapshots are made of. Follows
 * the log, and knows what the log's newest part knows.
 */
export class LastValueCache implements LastValues {
  private readonly kept = new Map<string, KeptOfType>()

  /**
   * An event came by; older ones are read again for clients that catch up, and change nothing.
   * @param bytes of the event as it is stored
   */
  note(type: string, key: string, data: unknown, timestamp: string, seq: number, bytes = 0): void {
    let ofType = this.kept.get(type)
    if (!ofType) this.kept.set(type, (ofType = { keys: new Map(), bytes: 0 }))
    const { keys } = ofType
    if ((keys.get(key)?.seq ?? -1) >= seq) return
    // Deleted first, so that the map stays in order of change.
    drop(ofType, key)
    keys.set(key, { data, timestamp, seq, bytes: bytes + key.length })
    ofType.bytes += bytes + key.length
    while (keys.size > KEYS_MAX || ofType.bytes > BYTES_MAX) drop(ofType, keys.keys().next().value as string)
  }

  /** The stream no longer has what came after this sequence: it is another one (0), or was cut short. */
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

/** What the log's newest part says: the latest event of each key of those that mark one (`lastValue`). */
export interface LastValues {
  of(type: string, key: string): { readonly data: AnyData; readonly timestamp: string } | undefined
  all(type: string): Iterable<{ readonly data: AnyData; readonly timestamp: string }>
  /** The time of the latest event about an entity (`entity` of events), whatever its type. */
  latestTime(entity: string): string | undefined
}
