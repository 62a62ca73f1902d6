import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { nkeys } from 'nats'

/** An NKey; the library's own types do not tell what it returns. */
interface KeyPair {
  getPublicKey(): string
  getSeed(): Uint8Array
  sign(input: Uint8Array): Uint8Array
}

/** Certificates of a test's own, by openssl, in its folder: `<name>.crt` and `<name>.key`. */
export class Authority {
  private readonly folder: string

  constructor(folder: string) {
    this.folder = folder
    this.openssl('req', '-x509', ...NEW_KEY, '-keyout', 'ca.key', '-out', 'ca.crt', '-subj', '/CN=ca', '-days', '2')
  }

  /** @param names such as `IP:127.0.0.1` or `DNS:localhost` */
  certificate(name: string, names: string): void {
    this.openssl('req', ...NEW_KEY, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`)
    writeFileSync(join(this.folder, `${name}.ext`), `subjectAltName=${names}`)
    const signing = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', `${name}.ext`]
    this.openssl('x509', '-req', '-in', `${name}.csr`, ...signing, '-out', `${name}.crt`, '-days', '2')
  }

  private openssl(...args: readonly string[]): void {
    execFileSync('openssl', args, { cwd: this.folder, stdio: 'ignore' })
  }
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

/** A user's NKey. */
export function userKey(): { readonly publicKey: string; readonly seed: string } {
  const pair: KeyPair = nkeys.createUser()
  return { publicKey: pair.getPublicKey(), seed: Buffer.from(pair.getSeed()).toString() }
}

/** An operator with an account that has JetStream, as `nsc` would make them. */
export class Operator {
  private readonly operator: KeyPair = nkeys.createOperator()
  private readonly account: KeyPair = nkeys.createAccount()
  private readonly system: KeyPair = nkeys.createAccount()

  /** A server's configuration that trusts this operator. */
  config(): string {
    const jetstream = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 }
    const jwt = (pair: KeyPair, name: string, limits: object) =>
      signed(this.operator, pair, name, { type: 'account', limits: { ...UNLIMITED, ...limits } })
    return [
      `operator: ${signed(this.operator, this.operator, 'op', { type: 'operator' })}`,
      `system_account: ${this.system.getPublicKey()}`,
      'resolver: MEMORY',
      'resolver_preload: {',
      `  ${this.account.getPublicKey()}: ${jwt(this.account, 'app', jetstream)}`,
      `  ${this.system.getPublicKey()}: ${jwt(this.system, 'sys', {})}`,
      '}',
    ].join('\n')
  }

  /** The text of a creds file. */
  creds(expires?: Date): string {
    const user: KeyPair = nkeys.createUser()
    const jwt = signed(this.account, user, 'user', { type: 'user', pub: {}, sub: {}, ...UNLIMITED_USER }, expires)
    const seed = Buffer.from(user.getSeed()).toString()
    const rule = (text: string) => `-----${text}-----`
    return `${rule('BEGIN NATS USER JWT')}\n${jwt}\n---${rule('END NATS USER JWT')}-\n\n${rule('BEGIN USER NKEY SEED')}\n${seed}\n---${rule('END USER NKEY SEED')}-\n`
  }
}

const UNLIMITED_USER = { subs: -1, data: -1, payload: -1 }
const UNLIMITED = { ...UNLIMITED_USER, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 }

function signed(issuer: KeyPair, subject: KeyPair, name: string, claims: object, expires?: Date): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const nowS = Math.floor(Date.now() / 1000)
  const text = `${part({ typ: 'JWT', alg: 'ed25519-nkey' })}.${part({
    jti: `${name}-${nowS}`,
    iat: nowS,
    iss: issuer.getPublicKey(),
    sub: subject.getPublicKey(),
    name,
    ...(expires ? { exp: Math.floor(expires.getTime() / 1000) } : undefined),
    nats: { version: 2, ...claims },
  })}`
  return `${text}.${Buffer.from(issuer.sign(Buffer.from(text))).toString('base64url')}`
}
