import type { Peer } from '../../src/hub/wire.ts'

/** Messages that uWS holds for one socket before it writes them in the middle of a publish. */
const BATCH_MAX = 32
/** A frame of this size is not held: it is sent at once, as by `send`. */
const LARGE_BYTES = 16_384

/** What a socket's owner is told, as by uWS' handlers. */
export interface PeerOwner {
  /** Nothing may be subscribed, published or closed in here. */
  dropped(frame: Uint8Array): void
  drained(): void
  /** The client's program has the frame. */
  received(frame: Uint8Array): void
}

/**
 * uWebSockets.js as DESIGN.md has it, in memory: publishes are held for each socket, up to 32, and written at the end
 * of a turn of the event loop, or before a `send`; large ones are not held, but sent. A socket over its limit drops a frame, says so, and loses the rest
 * of the batch without a word.
 */
export class ModelApp {
  private readonly topics = new Map<string, Set<ModelPeer>>()
  private readonly holding = new Set<ModelPeer>()

  publish(topic: string, frame: Uint8Array): void {
    for (const peer of this.topics.get(topic) ?? []) {
      if (frame.length >= LARGE_BYTES) {
        peer.send(frame)
        continue
      }
      if (peer.held.length === BATCH_MAX) peer.flush()
      peer.held.push(frame)
      this.holding.add(peer)
    }
  }

  /** The turn of the event loop is over. */
  flush(): void {
    for (const peer of this.holding) peer.flush()
    this.holding.clear()
  }

  subscribe(topic: string, peer: ModelPeer): boolean {
    let peers = this.topics.get(topic)
    if (!peers) this.topics.set(topic, (peers = new Set()))
    if (peers.has(peer)) return false
    peers.add(peer)
    return true
  }

  unsubscribe(topic: string, peer: ModelPeer): boolean {
    return this.topics.get(topic)?.delete(peer) ?? false
  }

  forget(peer: ModelPeer): void {
    this.holding.delete(peer)
    for (const peers of this.topics.values()) peers.delete(peer)
  }
}

/** One socket: what it wrote goes to the client as fast as the client takes it. */
export class ModelPeer implements Peer {
  readonly held: Uint8Array[] = []
  closed = false
  /** The client reads nothing: what is written stays here. */
  stalled = false
  private readonly app: ModelApp
  private readonly owner: PeerOwner
  private readonly bytesMax: number
  private readonly written: Uint8Array[] = []
  private buffered = 0
  private inDropped = false

  constructor(app: ModelApp, owner: PeerOwner, bytesMax: number) {
    this.app = app
    this.owner = owner
    this.bytesMax = bytesMax
  }

  send(frame: Uint8Array): number {
    this.mustBeOpen()
    if (this.buffered > this.bytesMax) {
      this.drop(frame)
      return 2
    }
    this.flush()
    return this.write(frame)
  }

  getBufferedAmount(): number {
    this.mustBeOpen()
    return this.buffered
  }

  subscribe(topic: string): boolean {
    this.mustBeOpen()
    return this.app.subscribe(topic, this)
  }

  unsubscribe(topic: string): boolean {
    this.mustBeOpen()
    return this.app.unsubscribe(topic, this)
  }

  cork(callback: () => void): void {
    this.mustBeOpen()
    callback()
  }

  /** What the client has yet to take never gets there. */
  close(): void {
    this.closed = true
    this.app.forget(this)
  }

  /** Nothing is on its way to the client. */
  get empty(): boolean {
    return this.written.length === 0 && this.held.length === 0
  }

  /** The connection is about to break; so many of the frames that were written still arrive. */
  arrive(frames: number): void {
    for (const frame of this.written.splice(0, frames)) this.owner.received(frame)
  }

  /** Writes what was published; the first frame that is dropped takes the rest with it. */
  flush(): void {
    for (const frame of this.held.splice(0)) {
      if (this.buffered <= this.bytesMax) this.write(frame)
      else return this.drop(frame)
    }
  }

  /** The client takes so much of what was written. */
  take(bytes: number): void {
    if (this.closed || this.written.length === 0) return
    let taken = 0
    while (this.written.length > 0 && taken < bytes) {
      const frame = this.written.shift() as Uint8Array
      taken += frame.length
      this.owner.received(frame)
    }
    this.buffered = this.written.reduce((sum, { length }) => sum + length, 0)
    this.owner.drained()
  }

  private write(frame: Uint8Array): number {
    if (this.stalled || this.written.length > 0) {
      this.written.push(frame)
      this.buffered += frame.length
      return 0
    }
    this.owner.received(frame)
    return 1
  }

  private drop(frame: Uint8Array): void {
    this.inDropped = true
    // A copy: what uWS hands out is gone after the call.
    this.owner.dropped(frame.slice())
    this.inDropped = false
  }

  private mustBeOpen(): void {
    if (this.closed) throw new Error('a closed socket was used')
    if (this.inDropped) throw new Error('a socket was used in its `dropped`')
  }
}
