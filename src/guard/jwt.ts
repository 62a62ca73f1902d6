import { createPublicKey, type JsonWebKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createDecoder, createVerifier } from 'fast-jwt'
import type { Logger } from 'pino'
import type { Claims } from '../contracts/contract.ts'
import { BrokerError, reasonOf } from '../errors.ts'

export interface JwtOptions {
  readonly secret: string
  /** PEM text, or the path of a PEM file. */
  readonly publicKey: string
  readonly jwksUrl: string
  readonly issuer: string
  readonly audience: string
}

type Algorithm = 'HS256' | 'RS256' | 'ES256' | 'EdDSA'

/**
 * Verifies tokens, synchronously: uWS upgrades cannot wait. Each key accepts only its own algorithms, so a token cannot
 * choose (`none`, or a public key used as an HMAC secret).
 */
export class TokenVerifier {
  private readonly options: JwtOptions
  private readonly log: Logger
  private readonly byAlgorithm = new Map<string, (token: string) => unknown>()
  private byKeyId = new Map<string, { algorithm: string; verify: (token: string) => unknown }>()
  private readonly decode = createDecoder({ complete: true })
  private refresher: NodeJS.Timeout | undefined
  private refreshedMs = 0
  /** The one verifier, where there is just one. */
  private readonly only: ((token: string) => unknown) | undefined

  /** @throws BrokerError CONFIG_INVALID where a key cannot be read */
  static async open(options: JwtOptions, log: Logger): Promise<TokenVerifier> {
    const verifier = new TokenVerifier(options, log)
    if (options.jwksUrl !== '') await verifier.followKeySet()
    return verifier
  }

  private constructor(options: JwtOptions, log: Logger) {
    this.options = options
    this.log = log
    if (options.secret !== '') this.byAlgorithm.set('HS256', this.verifierOf(options.secret, 'HS256'))
    if (options.publicKey !== '') {
      const { pem, algorithm } = readPublicKey(options.publicKey)
      this.byAlgorithm.set(algorithm, this.verifierOf(pem, algorithm))
    }
    const [first, ...others] = this.byAlgorithm.values()
    this.only = options.jwksUrl === '' && others.length === 0 ? first : undefined
  }

  /**
   * @param token empty or undefined: AUTH_MISSING
   * @throws BrokerError AUTH_MISSING, AUTH_FAILED or AUTH_EXPIRED; never with the token in it
   */
  verify(token: string | undefined): Claims {
    if (token === undefined || token === '') throw new BrokerError('AUTH_MISSING')
    const verify = this.choose(token)
    let claims: unknown
    try {
      claims = verify(token)
    } catch {
      throw new BrokerError('AUTH_FAILED')
    }
    if (!wellFormed(claims)) throw new BrokerError('AUTH_FAILED', 'The token lacks a claim that Roomcast needs: sub (string) and exp, and lists must be lists of strings')
    checkTimes(claims, Date.now())
    return claims
  }

  close(): void {
    clearInterval(this.refresher)
  }

  private choose(token: string): (token: string) => unknown {
    // The usual case needs no look at the header: the verifier itself refuses other algorithms.
    if (this.only !== undefined) return this.only
    let header: { alg?: unknown; kid?: unknown }
    try {
      header = (this.decode(token) as { header: { alg?: unknown; kid?: unknown } }).header
    } catch {
      throw new BrokerError('AUTH_FAILED', 'The token is not a JWT')
    }
    const { alg, kid } = header
    if (typeof kid === 'string') {
      const key = this.byKeyId.get(kid)
      if (key) {
        if (key.algorithm !== alg) throw new BrokerError('AUTH_FAILED')
        return key.verify
      }
    }
    const verify = typeof alg === 'string' ? this.byAlgorithm.get(alg) : undefined
    if (verify) return verify
    // A key that the set may have got since: the client that comes back finds it.
    if (this.options.jwksUrl !== '' && typeof kid === 'string') void this.refresh()
    throw new BrokerError('AUTH_FAILED')
  }

  private verifierOf(key: string, algorithm: Algorithm): (token: string) => unknown {
    const { issuer, audience } = this.options
    return createVerifier({
      key,
      algorithms: [algorithm],
      // `checkTimes` does that, in a fifth of the time.
      ignoreExpiration: true,
      ignoreNotBefore: true,
      // The checks of iss and aud below pass over tokens that have none.
      requiredClaims: [...(issuer === '' ? [] : ['iss']), ...(audience === '' ? [] : ['aud'])],
      // To find a token in the cache costs more than to verify it by HS256.
      cache: algorithm !== 'HS256',
      ...(issuer === '' ? undefined : { allowedIss: issuer }),
      ...(audience === '' ? undefined : { allowedAud: audience }),
    })
  }

  private async followKeySet(): Promise<void> {
    await this.refresh()
    if (this.byKeyId.size === 0) this.log.warn({ url: this.options.jwksUrl }, 'no key set yet; tokens are refused until there is one')
    this.refresher = setInterval(() => void this.refresh(), KEY_SET_REFRESH_MS)
    this.refresher.unref()
  }

  private async refresh(): Promise<void> {
    const now = Date.now()
    if (now - this.refreshedMs < KEY_SET_REFRESH_MIN_MS) return
    this.refreshedMs = now
    try {
      const answer = await fetch(this.options.jwksUrl, { signal: AbortSignal.timeout(KEY_SET_TIMEOUT_MS) })
      if (!answer.ok) throw new Error(`status ${answer.status}`)
      const { keys } = (await answer.json()) as { keys: (JsonWebKey & { kid?: string })[] }
      const found: typeof this.byKeyId = new Map()
      for (const jwk of keys) {
        const algorithm = algorithmOf(jwk)
        if (jwk.kid === undefined || algorithm === undefined) continue
        const pem = createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' }) as string
        found.set(jwk.kid, { algorithm, verify: this.verifierOf(pem, algorithm) })
      }
      this.byKeyId = found
    } catch (error) {
      this.log.warn({ url: this.options.jwksUrl, reason: reasonOf(error) }, 'reading the key set failed; the keys of before stay')
    }
  }
}

const KEY_SET_REFRESH_MS = 300_000
const KEY_SET_REFRESH_MIN_MS = 5_000
const KEY_SET_TIMEOUT_MS = 5_000

function algorithmOf(jwk: { kty?: string; crv?: string }): Algorithm | undefined {
  if (jwk.kty === 'RSA') return 'RS256'
  if (jwk.kty === 'EC' && jwk.crv === 'P-256') return 'ES256'
  if (jwk.kty === 'OKP' && jwk.crv === 'Ed25519') return 'EdDSA'
  return undefined
}

function readPublicKey(given: string): { pem: string; algorithm: Algorithm } {
  try {
    const pem = given.includes('-----BEGIN') ? given.replaceAll('\\n', '\n') : readFileSync(given, 'utf8')
    const key = createPublicKey(pem)
    const { kty, crv } = key.export({ format: 'jwk' })
    const algorithm = algorithmOf({ kty: kty as string, crv: crv as string })
    if (algorithm === undefined) throw new Error('wants an RSA, P-256 or Ed25519 key')
    return { pem, algorithm }
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `JWT_PUBLIC_KEY: ${reasonOf(error)}`)
  }
}

const LISTS = ['roles', 'permissions', 'project_access', 'library_access', 'agent_access', 'session_access'] as const

/** RFC 7519, 4.1.4 and 4.1.5. @throws BrokerError AUTH_EXPIRED; AUTH_FAILED before its time */
function checkTimes({ exp, nbf }: Claims & { readonly nbf?: unknown }, nowMs: number): void {
  if (nowMs > exp * 1000) throw new BrokerError('AUTH_EXPIRED')
  if (nbf !== undefined && !(typeof nbf === 'number' && nowMs >= nbf * 1000)) throw new BrokerError('AUTH_FAILED')
}

/** Whether these are claims, whoever says so. */
export function wellFormed(claims: unknown): claims is Claims {
  if (typeof claims !== 'object' || claims === null) return false
  const { sub, exp } = claims as Claims
  if (typeof sub !== 'string' || sub === '' || typeof exp !== 'number') return false
  for (const name of LISTS) {
    const list: unknown = (claims as Claims)[name]
    if (list !== undefined && !(Array.isArray(list) && list.every((item) => typeof item === 'string'))) return false
  }
  return true
}
