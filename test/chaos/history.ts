/** What one client saw, in order: the oracle's evidence. */
export type Mark = { readonly atMs: number } & (
  | { readonly what: 'event'; readonly room: string; readonly n: number; readonly epoch: string; readonly seq: number }
  /**
   * In its rooms. `recovered`: Socket.IO says that nothing is missing; undefined where the protocol does not say so, or
   * at the first time.
   */
  | { readonly what: 'connected'; readonly recovered?: boolean }
  | { readonly what: 'disconnected'; readonly reason: string }
  /** `events_missed`. */
  | { readonly what: 'told'; readonly about: string }
  /** Anything else that helps to understand it. */
  | { readonly what: 'note'; readonly text: string }
)

export interface History {
  readonly client: string
  readonly kind: 'raw' | 'socket.io'
  readonly rooms: readonly string[]
  readonly marks: readonly Mark[]
}

/** A history that a client writes while it runs. */
export class Recorder {
  readonly marks: Mark[] = []
  /** By room: the highest number that came. */
  readonly newest = new Map<string, number>()
  connects = 0

  event(room: string, n: number, position: string): void {
    const dash = position.lastIndexOf('-')
    this.marks.push({
      atMs: Date.now(),
      what: 'event',
      room,
      n,
      epoch: position.slice(0, dash),
      seq: Number(position.slice(dash + 1)),
    })
    this.newest.set(room, Math.max(n, this.newest.get(room) ?? -1))
  }

  connected(recovered?: boolean): void {
    this.connects++
    this.marks.push({ atMs: Date.now(), what: 'connected', ...(recovered === undefined ? undefined : { recovered }) })
  }

  disconnected(reason: string): void {
    this.marks.push({ atMs: Date.now(), what: 'disconnected', reason })
  }

  told(about: string): void {
    this.marks.push({ atMs: Date.now(), what: 'told', about })
  }

  note(text: string): void {
    this.marks.push({ atMs: Date.now(), what: 'note', text })
  }
}

/** One line of a timeline. */
export function describe(mark: Mark): string {
  switch (mark.what) {
    case 'event':
      return `event ${mark.room} #${mark.n} ${mark.epoch}-${mark.seq}`
    case 'connected':
      return mark.recovered === undefined ? 'connected' : `connected, recovered: ${mark.recovered}`
    case 'disconnected':
      return `disconnected: ${mark.reason}`
    case 'told':
      return `told: ${mark.about}`
    case 'note':
      return mark.text
  }
}
