import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { nkeys } from 'nats'
import { BrokerError, reasonOf } from '../../errors.ts'

/** Paths of the files by which we connect; empty or left out where there is none. */
export interface LoginFiles {
  readonly creds?: string
  readonly nkeySeedFile?: string
  readonly caFile?: string
  readonly certFile?: string
  readonly keyFile?: string
}

export interface Creds {
  readonly jwt: string
  readonly seed: string
}

/**
 * Reads all of the files and checks that they are what they should be.
 * @throws BrokerError CONFIG_INVALID, in one line that names the option
 */
export function checkLoginFiles({ creds, nkeySeedFile, caFile, certFile, keyFile }: LoginFiles): void {
  if (creds) readCreds(creds)
  if (nkeySeedFile) readSeed(nkeySeedFile)
  readTlsFiles({ caFile, certFile, keyFile })
}

/** What the files for TLS hold, in PEM. */
export interface TlsTexts {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

/** @throws BrokerError CONFIG_INVALID */
export function readTlsFiles({ caFile, certFile, keyFile }: LoginFiles): TlsTexts {
  return {
    ...(caFile ? { ca: readCa(caFile) } : undefined),
    ...(certFile && keyFile ? readPair(certFile, keyFile) : undefined),
  }
}

function readCa(path: string): string {
  const at = `NATS_CA_FILE=${path}`
  const ca = content(at, path).toString()
  attempt(at, 'holds no certificate in PEM', () => new X509Certificate(ca))
  attempt(at, 'cannot be used', () => createSecureContext({ ca }))
  return ca
}

function readPair(certFile: string, keyFile: string): { readonly cert: string; readonly key: string } {
  const [certAt, keyAt] = [`NATS_CERT_FILE=${certFile}`, `NATS_KEY_FILE=${keyFile}`]
  const cert = content(certAt, certFile).toString()
  const key = content(keyAt, keyFile).toString()
  const certificate = attempt(certAt, 'is no certificate in PEM', () => new X509Certificate(cert))
  const privateKey = attempt(keyAt, 'is no private key in PEM, or one with a passphrase', () => createPrivateKey(key))
  if (!certificate.checkPrivateKey(privateKey))
    throw invalid(`${keyAt}: is not the key of the certificate in ${certAt}`)
  attempt(`${certAt}, ${keyAt}`, 'cannot be used', () => createSecureContext({ cert, key }))
  return { cert, key }
}

const SEED = /\bSU[A-Z2-7]{56}\b/

/** @throws BrokerError CONFIG_INVALID */
export function readCreds(path: string): Creds {
  const at = `NATS_CREDS=${path}`
  const text = content(at, path).toString()
  const [, jwt] = /-{3,}BEGIN NATS USER JWT-{3,}\s*([\w-]+\.[\w-]+\.[\w-]+)\s*-{3,}END/.exec(text) ?? []
  if (jwt === undefined) throw invalid(`${at}: holds no JWT of a user; make the file anew, by \`nsc generate creds\``)
  const [seed] = SEED.exec(text) ?? []
  if (seed === undefined)
    throw invalid(`${at}: holds a JWT, but no NKey seed (SU…); make the file anew, by \`nsc generate creds\``)
  checkSeed(at, seed)
  return { jwt, seed }
}

/** @throws BrokerError CONFIG_INVALID */
export function readSeed(path: string): string {
  const at = `NATS_NKEY_SEED_FILE=${path}`
  const [seed] = SEED.exec(content(at, path).toString()) ?? []
  if (seed === undefined) throw invalid(`${at}: holds no seed of a user's NKey (SU…), as \`nk -gen user\` makes it`)
  checkSeed(at, seed)
  return seed
}

/** A seed ends in a checksum. */
function checkSeed(at: string, seed: string): void {
  attempt(at, 'holds a seed that is not whole', () => nkeys.fromSeed(new TextEncoder().encode(seed)))
}

/**
 * Reads files each time that the client connects, so that renewed ones count. Where one is no good at that moment, they
 * count as they were before: the client would close for ever if its authenticator threw.
 */
export function newest<T>(read: () => T): () => T {
  let last = read()
  return () => {
    try {
      last = read()
    } catch {
      // It is being written, or is gone: the server says what it thinks of the one before.
    }
    return last
  }
}

/** When a JWT ends, ms since 1970; undefined if it does not, or cannot be read. */
export function expiryOf({ jwt }: Creds): number | undefined {
  try {
    const { exp } = JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString()) as { exp?: unknown }
    return typeof exp === 'number' && exp > 0 ? exp * 1000 : undefined
  } catch {
    return undefined
  }
}

function content(at: string, path: string): Buffer {
  return attempt(at, 'cannot be read', () => readFileSync(path))
}

function attempt<T>(option: string, fault: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    throw invalid(`${option}: ${fault} (${reasonOf(error)})`)
  }
}

function invalid(line: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', line)
}
