import type { PeerCertificate } from 'node:tls'
import { NatsError, nkeys } from 'nats'
import { BrokerError, reasonOf } from '../../errors.ts'
import { type Way, wayOf } from './authentication.ts'
import { addressesOf, hostOf } from './addresses.ts'
import { CONNECT_TIMEOUT_MS, type ConnectOptions } from './connect-options.ts'
import { expiryOf, readCreds, readSeed } from './login-files.ts'
import { type Finding, probe } from './probe.ts'
import { tlsOf } from './tls.ts'

const DEFAULT_PORT = 4222
/** What Node.js says of a certificate that no known authority signed. */
const UNKNOWN_SIGNER = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_SIGNATURE_FAILURE',
])

/** Why the first connect failed, in one line that says what to do. */
export async function connectFailure(error: unknown, options: ConnectOptions): Promise<BrokerError> {
  const addresses = addressesOf(options.url)
  if (isRefusal(error)) return refused(addresses.join(', '), options)
  const findings = await Promise.all(
    addresses.map(async (address) => explained(address, await look(address, options), error, options)),
  )
  const [first, ...others] = findings as [BrokerError, ...BrokerError[]]
  if (others.every(({ message }) => message === first.message)) return first
  return new BrokerError(first.code, findings.map(({ message }) => message).join('; '))
}

function isRefusal(error: unknown): boolean {
  return error instanceof NatsError && (error.isAuthError() || error.isAuthTimeout())
}

function look(address: string, options: ConnectOptions): Promise<Finding> {
  const port = Number(/:(\d+)\/?$/.exec(address)?.[1] ?? DEFAULT_PORT)
  return probe(hostOf(address), port, tlsOf(options), CONNECT_TIMEOUT_MS)
}

/** What to do about a server at which a connection failed in this way. */
function explained(address: string, found: Finding, thrown: unknown, options: ConnectOptions): BrokerError {
  const { stage, error, said, late, wantsCertificate, speaksTls } = found
  const server = `The NATS server at ${address}`
  const unreachable = (line: string) => new BrokerError('SOURCE_UNREACHABLE', line)
  const certificate = options.certFile ? `NATS_CERT_FILE=${options.certFile}` : ''
  if (wantsCertificate && certificate === '')
    return new BrokerError(
      'SOURCE_REFUSED',
      `${server} wants a client certificate: set NATS_CERT_FILE and NATS_KEY_FILE`,
    )
  if (said !== undefined && /authorization|authentication/i.test(said)) {
    // It says so to anybody who has not logged in, as this look at it does.
    return unreachable(
      `${server} did not finish the log-in within ${CONNECT_TIMEOUT_MS / 1000} s (${reasonOf(thrown)}): look into its log`,
    )
  }
  if (said !== undefined)
    return unreachable(
      stage === 'greeting' && !wasRefusal(said)
        ? `What answers at ${address} is no NATS server (it said: ${said}): check NATS_URL`
        : `${server} takes no connection (${said}): its limits, or its log, say why`,
    )
  if (stage === 'tls' && !speaksTls)
    return unreachable(
      `${server} does not speak TLS, which NATS_CA_FILE, NATS_CERT_FILE or tls:// in NATS_URL ask for: give it a certificate, or connect without them`,
    )
  if (wantsCertificate && error !== undefined && (stage === 'after tls' || /alert/i.test(error.message)))
    return new BrokerError(
      'SOURCE_REFUSED',
      `${server} did not accept the client certificate in ${certificate} (${alertIn(error)}): an authority that the server trusts has to sign it, for clients`,
    )
  if (stage === 'tls' && error !== undefined) return unreachable(`${server} ${tlsFault(error, address, options)}`)
  if (late) return unreachable(silence(address, stage))
  return unreachable(dialFault(address, error ?? thrown))
}

function wasRefusal(said: string): boolean {
  return /exceeded|connection|limit|account|maximum/i.test(said)
}

function tlsFault(error: Error & { code?: string }, address: string, { caFile }: ConnectOptions): string {
  const code = error.code ?? ''
  if (UNKNOWN_SIGNER.has(code))
    return caFile
      ? `has a certificate that no authority in NATS_CA_FILE=${caFile} signed (${code}): set NATS_CA_FILE to the certificate of the one that did`
      : `speaks TLS with a certificate that no known authority signed (${code}): set NATS_CA_FILE to the certificate of the authority that did`
  if (code === 'CERT_HAS_EXPIRED') return `has a certificate that has run out (${code}): renew it, or check the clock`
  if (code === 'CERT_NOT_YET_VALID') return `has a certificate that is not valid yet (${code}): check the clock`
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `has a certificate for ${namesIn(error)}, not for ${hostOf(address)}: write a name that it has in NATS_URL, or make one for this name`
  return `broke off the TLS handshake (${alertIn(error)}): look into its log`
}

/** Which names the certificate has that did not fit. */
function namesIn(error: Error & { readonly cert?: PeerCertificate }): string {
  return error.cert?.subjectaltname ?? error.cert?.subject?.CN?.toString() ?? 'another name'
}

/** `tlsv13 alert certificate required` of OpenSSL's long line, or the error's own words. */
function alertIn(error: Error): string {
  return /(?:tls|ssl)v?[\d.]* alert [a-z ]+/i.exec(error.message)?.[0] ?? reasonOf(error)
}

function silence(address: string, stage: Finding['stage']): string {
  const within = `within ${CONNECT_TIMEOUT_MS / 1000} s`
  if (stage === 'dial')
    return `Nothing at ${address} takes a connection ${within} (time-out): check NATS_URL, and the firewalls between here and there`
  return `What listens at ${address} says nothing ${within} (time-out): check that NATS_URL has the client port of nats-server (not of monitoring or WebSocket, nor one with handshake_first)`
}

function dialFault(address: string, error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return `The host of ${address} is not known (${code}): check NATS_URL, and the name server`
  if (code === 'EHOSTUNREACH' || code === 'ENETUNREACH' || code === 'ETIMEDOUT')
    return `There is no way to ${address} (${code}): check NATS_URL, and the network`
  return `No NATS server answers at ${address} (${code === 'ECONNREFUSED' ? 'connection refused' : reasonOf(error)}): check NATS_URL, and that nats-server runs`
}

/** The server knows what we came with, and does not want it. */
function refused(shown: string, options: ConnectOptions): BrokerError {
  const origin = options.context ? ` (NATS_CONTEXT=${options.context})` : ''
  return new BrokerError('SOURCE_REFUSED', `The NATS server at ${shown} ${REFUSED[wayOf(options)](options)}${origin}`)
}

const REFUSED: Readonly<Record<Way, (options: ConnectOptions) => string>> = {
  creds: ({ creds = '' }) => `refused the credentials: ${ofCreds(creds)}`,
  nkey: ({ nkeySeedFile = '' }) =>
    `refused the NKey of NATS_NKEY_SEED_FILE=${nkeySeedFile}: a user of the server needs \`nkey: ${publicKeyIn(nkeySeedFile)}\``,
  token: () => 'refused the token: check NATS_TOKEN',
  user: () => 'refused the credentials: check the user and password, or the token, in NATS_URL, or set NATS_CREDS',
  certificate: ({ certFile = '' }) =>
    `knows no user for the client certificate in NATS_CERT_FILE=${certFile}, or wants NATS_CREDS, NATS_NKEY_SEED_FILE, NATS_TOKEN, or a user and password in NATS_URL besides`,
  none: () =>
    'wants credentials, and there are none: set NATS_CREDS, NATS_NKEY_SEED_FILE or NATS_TOKEN, or a user and password in NATS_URL',
}

function ofCreds(path: string): string {
  const at = `NATS_CREDS=${path}`
  try {
    const expiresMs = expiryOf(readCreds(path))
    if (expiresMs !== undefined && expiresMs <= Date.now())
      return `the JWT in ${at} ran out at ${new Date(expiresMs).toISOString()}; make a new one`
  } catch {
    // It was there a moment ago.
  }
  return `check ${at}; its account has to be one that the server knows, its user must not be revoked`
}

function publicKeyIn(path: string): string {
  try {
    return nkeys.fromSeed(new TextEncoder().encode(readSeed(path))).getPublicKey()
  } catch {
    return 'U…'
  }
}
