import type { Claims } from '../../contracts/claims.ts'
import type { LateAuthentication, SocketIoEndpoint } from '../../contracts/contract.ts'
import { BrokerError } from '../../errors.ts'
import type { Connections } from '../../guard/connections.ts'
import type { Identity, LoginSessions } from '../../state/login-sessions.ts'
import type { Recovered } from '../../state/recovery.ts'
import type { Admission } from './admission.ts'
import { tokenIn } from './credential.ts'
import type { Namespace } from './namespaces.ts'

export interface AccessOptions {
  readonly verify: (token: string | undefined) => Claims
  readonly loginSessions: LoginSessions
  readonly connections: Connections
  readonly admission: Admission
}

/** A connection, for what counts the connections of users. */
interface UserConnection {
  /** A user has a client in one of its namespaces. */
  isOf(userId: string): boolean
}

/** Whoever connects to an endpoint that wants no token. */
const ANONYMOUS: Claims = { sub: 'anonymous', exp: Number.MAX_SAFE_INTEGER }

/** Who a client is, and whether it may be in a namespace. */
export class Access {
  private readonly options: AccessOptions

  constructor(options: AccessOptions) {
    this.options = options
  }

  /**
   * @param queryToken of the handshake's query, where CONNECT brings none
   * @param auth of CONNECT
   * @returns undefined where the client may say later who it is
   * @throws BrokerError AUTH_MISSING, AUTH_FAILED, AUTH_EXPIRED
   */
  claimsOf(endpoint: SocketIoEndpoint, queryToken: string | null, auth: Record<string, unknown>): Claims | undefined {
    if (endpoint.anonymous) return ANONYMOUS
    const token = auth.token ?? queryToken ?? undefined
    if (token === undefined && endpoint.lateAuthentication) return undefined
    return this.options.verify(typeof token === 'string' ? token.replace(/^Bearer /i, '') : undefined)
  }

  /** @throws BrokerError where the data of the command that authenticates do not say who it is */
  async identify(late: LateAuthentication, data: unknown): Promise<Identity> {
    const { verify, loginSessions } = this.options
    const { credential, userId } = (late.credential ?? tokenIn)(data)
    const text = typeof credential === 'string' ? credential : undefined
    const identity = late.sessions ? await loginSessions.identify(text) : { claims: verify(text) }
    if (userId !== undefined && userId !== null && userId !== identity.claims.sub)
      throw new BrokerError('AUTH_FAILED', "The token is not this user's")
    return identity
  }

  /**
   * Who a client was that authenticated by a command and comes back.
   * @returns undefined where that is over: it may say anew who it is
   */
  async identityOf({ endpoint }: Namespace, recovered: Recovered | undefined): Promise<Identity | undefined> {
    if (!endpoint.lateAuthentication || !recovered?.identity) return undefined
    return this.options.loginSessions.refresh(recovered.identity).catch(() => undefined)
  }

  /** @throws BrokerError ACCESS_DENIED */
  check({ endpoint, parameter }: Namespace, claims: Claims): void {
    if (!endpoint.allows || claims.roles?.includes('admin') || endpoint.allows(claims, parameter)) return
    throw new BrokerError('ACCESS_DENIED', 'Access denied to this namespace')
  }

  /**
   * Lets a user into a namespace; `leave` follows once the client is gone from it.
   * @throws BrokerError ACCESS_DENIED, TOO_MANY_CONNECTIONS, BANNED
   */
  enter(namespace: Namespace, claims: Claims, connection: UserConnection): void {
    const { connections, admission } = this.options
    this.check(namespace, claims)
    if (!namespace.endpoint.anonymous && !connection.isOf(claims.sub)) connections.admitUser(claims.sub)
    admission.enter(namespace.contract, claims.sub, connection)
  }

  /** A client comes that another worker let in: here it may be one too many, and may stay all the same. */
  enterAgain({ contract }: Namespace, userId: string, connection: UserConnection): void {
    try {
      this.options.admission.enter(contract, userId, connection)
    } catch {
      // Which worker it is in was the kernel's choice.
    }
  }

  leave({ contract }: Namespace, userId: string, connection: UserConnection): void {
    this.options.admission.leave(contract, userId, connection)
  }
}
