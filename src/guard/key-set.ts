import { createPublicKey, type JsonWebKey } from 'node:crypto'
import type { Logger } from 'pino'
import { reasonOf } from '../errors.ts'
import { every, runGuarded } from '../guarded.ts'

export type Algorithm = 'HS256' | 'RS256' | 'ES256' | 'EdDSA'

/** A public key in PEM, and the only algorithm that it may be used with. */
export interface PublicKey {
  readonly pem: string
  readonly algorithm: Algorithm
}

export interface KeySetOptions {
  readonly url: string
  /** The largest answer. */
  readonly bytesMax: number
  readonly keysMax: number
}

interface Jwk extends JsonWebKey {
  readonly kid?: unknown
  readonly use?: unknown
  readonly alg?: unknown
}

const REFRESH_MS = 300_000
const REFRESH_MIN_MS = 5_000
const TIMEOUT_MS = 5_000
const REDIRECTS_MAX = 3
/** Media types that file servers use for JSON. HTML, the type of login forms, is not among them. */
const TYPES = /^$|[/+]json\b|^text\/plain\b|^application\/octet-stream\b|^binary\/octet-stream\b/i
const RSA_BITS_MIN = 2_048

/**
 * The keys of a JSON Web Key Set (RFC 7517). The set is read every five minutes, and when a token names a key that is
 * not in it.
 */
export class KeySet<Verify> {
  private readonly options: KeySetOptions
  private readonly log: Logger
  private readonly verifierOf: (key: PublicKey) => Verify
  private keys: ReadonlyMap<string, { readonly algorithm: Algorithm; readonly verify: Verify }> = new Map()
  private refreshedMs = 0
  private timer: NodeJS.Timeout | undefined

  /** Reads the set once and then keeps it up to date. If reading fails, tokens are refused until it succeeds. */
  static async follow<V>(options: KeySetOptions, log: Logger, verifierOf: (key: PublicKey) => V): Promise<KeySet<V>> {
    const set = new KeySet(options, log, verifierOf)
    await set.read()
    if (set.keys.size === 0) log.warn({ url: set.place }, 'no key set yet; tokens are refused until there is one')
    set.timer = every('key set', REFRESH_MS, () => set.read())
    set.timer.unref()
    return set
  }

  private constructor(options: KeySetOptions, log: Logger, verifierOf: (key: PublicKey) => Verify) {
    this.options = options
    this.log = log
    this.verifierOf = verifierOf
  }

  find(id: string): { readonly algorithm: Algorithm; readonly verify: Verify } | undefined {
    return this.keys.get(id)
  }

  /** Reads the set again, unless it was read within the last REFRESH_MIN_MS. */
  refresh(): void {
    runGuarded('key set', () => this.read())
  }

  close(): void {
    clearInterval(this.timer)
  }

  /** The address without its query, which may contain a secret. */
  private get place(): string {
    const { origin, pathname } = new URL(this.options.url)
    return origin + pathname
  }

  private async read(): Promise<void> {
    const now = Date.now()
    if (now - this.refreshedMs < REFRESH_MIN_MS) return
    this.refreshedMs = now
    try {
      this.keys = this.usable(await download(this.options))
    } catch (error) {
      this.log.warn(
        { url: this.place, reason: reasonOf(error) },
        'the key set could not be read; the previous keys stay in use',
      )
    }
  }

  /** Picks the usable keys; a bad key does not affect the others. @throws Error if there are keys and none is usable */
  private usable(jwks: readonly unknown[]): typeof this.keys {
    const { keysMax } = this.options
    const found = new Map<string, { algorithm: Algorithm; verify: Verify }>()
    if (jwks.length > keysMax)
      this.log.warn(
        { url: this.place, keys: jwks.length, taken: keysMax },
        'the key set has more keys than MAX_KEY_SET_KEYS',
      )
    for (const [index, jwk] of jwks.slice(0, keysMax).entries()) {
      try {
        const key = keyOf(jwk as Jwk)
        if (key) found.set(key.id, { algorithm: key.algorithm, verify: this.verifierOf(key) })
      } catch (error) {
        this.log.warn({ url: this.place, index, reason: reasonOf(error) }, 'a key of the key set cannot be used')
      }
    }
    // An empty set revokes all keys; a set of unusable keys does not.
    if (jwks.length > 0 && found.size === 0) throw new Error('no key of it can be used')
    return found
  }
}

/** The algorithm of a key. @returns undefined if Roomcast verifies no tokens with keys of this kind */
export function algorithmOf(jwk: { readonly kty?: unknown; readonly crv?: unknown }): Algorithm | undefined {
  if (jwk.kty === 'RSA') return 'RS256'
  if (jwk.kty === 'EC' && jwk.crv === 'P-256') return 'ES256'
  if (jwk.kty === 'OKP' && jwk.crv === 'Ed25519') return 'EdDSA'
  return undefined
}

/** @returns undefined if the key is for another purpose @throws Error if it is not well formed */
function keyOf(jwk: Jwk): (PublicKey & { readonly id: string }) | undefined {
  if (typeof jwk !== 'object' || jwk === null) throw new Error('it is not an object')
  const { kid, use, alg } = jwk
  const algorithm = algorithmOf(jwk)
  if (typeof kid !== 'string' || algorithm === undefined) return undefined
  if ((use !== undefined && use !== 'sig') || (alg !== undefined && alg !== algorithm)) return undefined
  const key = createPublicKey({ key: jwk, format: 'jwk' })
  const bits = key.asymmetricKeyDetails?.modulusLength
  // RFC 7518, 3.3
  if (bits !== undefined && bits < RSA_BITS_MIN) throw new Error(`an RSA key of ${bits} bits is too short`)
  return { id: kid, algorithm, pem: key.export({ type: 'spki', format: 'pem' }) as string }
}

async function download({ url, bytesMax }: KeySetOptions): Promise<readonly unknown[]> {
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  let address = new URL(url)
  for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects++) {
    const answer = await fetch(address, {
      signal,
      redirect: 'manual',
      headers: { Accept: 'application/jwk-set+json, application/json' },
    })
    const location = answer.headers.get('location')
    if (answer.status >= 300 && answer.status < 400 && location !== null) {
      await answer.body?.cancel()
      const next = new URL(location, address)
      if (address.protocol === 'https:' && next.protocol !== 'https:')
        throw new Error('it is redirected to an address without TLS')
      address = next
      continue
    }
    try {
      if (!answer.ok) throw new Error(`status ${answer.status}`)
      const type = answer.headers.get('content-type') ?? ''
      if (!TYPES.test(type)) throw new Error(`its type is ${type.slice(0, 100)}, not JSON`)
      const { keys } = JSON.parse(await textOf(answer, bytesMax)) as { keys?: unknown }
      if (!Array.isArray(keys)) throw new Error('it has no list of keys')
      return keys
    } finally {
      if (!answer.bodyUsed) await answer.body?.cancel()
    }
  }
  throw new Error(`it is redirected more than ${REDIRECTS_MAX} times`)
}

async function textOf(answer: Response, bytesMax: number): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of answer.body ?? []) {
    bytes += chunk.byteLength
    if (bytes > bytesMax) throw new Error(`it is larger than MAX_KEY_SET_BYTES (${bytesMax})`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}
