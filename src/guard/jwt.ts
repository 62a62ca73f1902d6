import { createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createDecoder, createVerifier } from 'fast-jwt'
import type { Logger } from 'pino'
import { BrokerError, reasonOf } from '../errors.ts'
import { type Algorithm, algorithmOf, KeySet, type PublicKey } from './key-set.ts'
import type { Claims } from '../contracts/claims.ts'

/** What well-formed claims are. */
export interface ClaimRules {
  /** The longest `sub`. It becomes part of NATS subjects, and one above 4 KB would end the connection to NATS. */
  readonly userIdBytesMax: number
  /** The claims that must be lists of strings where they are there. */
  readonly listClaims: readonly string[]
}

export interface JwtOptions extends ClaimRules {
  readonly secret: string
  /** PEM text, or the path of a PEM file. */
  readonly publicKey: string
  readonly jwksUrl: string
  readonly issuer: string
  readonly audience: string
  readonly tokenBytesMax: number
  /** The largest answer of JWKS_URL. */
  readonly keySetBytesMax: number
  readonly keySetKeysMax: number
}

type Verify = (token: string) => unknown

/**
 * Verifies tokens synchronously, because uWS upgrades cannot wait. Each key accepts only its own algorithm, so a token
 * cannot choose one (`none`, or a public key used as an HMAC secret).
 */
export class TokenVerifier {
  private readonly options: JwtOptions
  private readonly byAlgorithm = new Map<string, Verify>()
  private keySet: KeySet<Verify> | undefined
  private readonly decode = createDecoder({ complete: true })
  /** The verifier, if there is exactly one. */
  private readonly only: Verify | undefined

  /** @throws BrokerError CONFIG_INVALID if a key cannot be read */
  static async open(options: JwtOptions, log: Logger): Promise<TokenVerifier> {
    const verifier = new TokenVerifier(options)
    const { jwksUrl, keySetBytesMax, keySetKeysMax } = options
    if (jwksUrl !== '')
      verifier.keySet = await KeySet.follow(
        { url: jwksUrl, bytesMax: keySetBytesMax, keysMax: keySetKeysMax },
        log,
        ({ pem, algorithm }) => verifier.verifierOf(pem, algorithm),
      )
    return verifier
  }

  private constructor(options: JwtOptions) {
    this.options = options
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
   * @throws BrokerError AUTH_MISSING, AUTH_FAILED or AUTH_EXPIRED; the error never contains the token
   */
  verify(token: string | undefined): Claims {
    if (token === undefined || token === '') throw new BrokerError('AUTH_MISSING')
    // Check the length before decoding anything. Well-formed tokens are ASCII, so a character is a byte.
    if (token.length > this.options.tokenBytesMax)
      throw new BrokerError(
        'AUTH_FAILED',
        `The token is longer than the ${this.options.tokenBytesMax} bytes of MAX_TOKEN_BYTES`,
      )
    const verify = this.choose(token)
    let claims: unknown
    try {
      claims = verify(token)
    } catch {
      throw new BrokerError('AUTH_FAILED')
    }
    if (!wellFormed(claims, this.options))
      throw new BrokerError(
        'AUTH_FAILED',
        `The token lacks a claim that Roomcast needs: sub (string of at most ${this.options.userIdBytesMax} bytes) and exp, and lists must be lists of strings`,
      )
    checkTimes(claims, Date.now())
    return claims
  }

  close(): void {
    this.keySet?.close()
  }

  private choose(token: string): Verify {
    // The usual case need not look at the header: the verifier itself refuses other algorithms.
    if (this.only !== undefined) return this.only
    let header: { alg?: unknown; kid?: unknown }
    try {
      header = (this.decode(token) as { header: { alg?: unknown; kid?: unknown } }).header
    } catch {
      throw new BrokerError('AUTH_FAILED', 'The token is not a JWT')
    }
    const { alg, kid } = header
    if (typeof kid === 'string') {
      const key = this.keySet?.find(kid)
      if (key) {
        if (key.algorithm !== alg) throw new BrokerError('AUTH_FAILED')
        return key.verify
      }
    }
    const verify = typeof alg === 'string' ? this.byAlgorithm.get(alg) : undefined
    if (verify) return verify
    // The key may be new in the set: refresh it, so that the client's next attempt finds the key.
    if (typeof kid === 'string') this.keySet?.refresh()
    throw new BrokerError('AUTH_FAILED')
  }

  private verifierOf(key: string, algorithm: Algorithm): Verify {
    const { issuer, audience } = this.options
    return createVerifier({
      key,
      algorithms: [algorithm],
      // `checkTimes` checks both, in a fifth of the time.
      ignoreExpiration: true,
      ignoreNotBefore: true,
      // The checks of iss and aud below skip tokens without these claims.
      requiredClaims: [...(issuer === '' ? [] : ['iss']), ...(audience === '' ? [] : ['aud'])],
      // Finding a token in the cache costs more than verifying it by HS256.
      cache: algorithm !== 'HS256',
      ...(issuer === '' ? undefined : { allowedIss: issuer }),
      ...(audience === '' ? undefined : { allowedAud: audience }),
    })
  }
}

function readPublicKey(given: string): PublicKey {
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

/** RFC 7519, 4.1.4 and 4.1.5. @throws BrokerError AUTH_EXPIRED, or AUTH_FAILED if the token is not valid yet */
function checkTimes({ exp, nbf }: Claims & { readonly nbf?: unknown }, nowMs: number): void {
  if (nowMs > exp * 1000) throw new BrokerError('AUTH_EXPIRED')
  if (nbf !== undefined && !(typeof nbf === 'number' && nowMs >= nbf * 1000)) throw new BrokerError('AUTH_FAILED')
}

/** The last moment that a `Date` can represent, in seconds since 1970; a later `exp` could not be shown to clients. */
const EXP_MAX = 8.64e12

/** Whether a value is a well-formed set of claims, whatever its source. */
export function wellFormed(claims: unknown, { userIdBytesMax, listClaims }: ClaimRules): claims is Claims {
  if (typeof claims !== 'object' || claims === null) return false
  const { sub, exp } = claims as Claims
  if (typeof sub !== 'string' || sub === '' || typeof exp !== 'number' || !(Math.abs(exp) <= EXP_MAX)) return false
  if (Buffer.byteLength(sub) > userIdBytesMax) return false
  for (const name of listClaims) {
    const list: unknown = (claims as Claims)[name]
    if (list !== undefined && !(Array.isArray(list) && list.every((item) => typeof item === 'string'))) return false
  }
  return true
}
