import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { BrokerError, reasonOf } from '../errors.ts'
import type { Config } from './options.ts'

/**
 * Checks the TLS files, if there are any, before uWS reads them, because uWS reports a failure without its reason.
 * @throws BrokerError CONFIG_INVALID, in one line that names the option
 */
export function checkTlsFiles({ tlsCertFile, tlsKeyFile }: Pick<Config, 'tlsCertFile' | 'tlsKeyFile'>): void {
  if (tlsCertFile === '') return
  const [certAt, keyAt] = [`TLS_CERT_FILE=${tlsCertFile}`, `TLS_KEY_FILE=${tlsKeyFile}`]
  const cert = attempt(certAt, 'cannot be read', () => readFileSync(tlsCertFile))
  const key = attempt(keyAt, 'cannot be read', () => readFileSync(tlsKeyFile))
  const certificate = attempt(certAt, 'is no certificate in PEM', () => new X509Certificate(cert))
  const privateKey = attempt(keyAt, 'is no private key in PEM, or one with a passphrase', () => createPrivateKey(key))
  if (!certificate.checkPrivateKey(privateKey))
    throw new BrokerError('CONFIG_INVALID', `${keyAt}: is not the key of the certificate in ${certAt}`)
  attempt(`${certAt}, ${keyAt}`, 'cannot be used', () => createSecureContext({ cert, key }))
}

function attempt<T>(option: string, fault: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `${option}: ${fault} (${reasonOf(error)})`)
  }
}
