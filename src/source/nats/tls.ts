import { isIP } from 'node:net'
import { checkServerIdentity, type ConnectionOptions as TlsOptions, type PeerCertificate } from 'node:tls'
import { addressesOf, hostOf } from './addresses.ts'
import type { ConnectOptions } from './connect-options.ts'
import { newest, readTlsFiles } from './login-files.ts'

/**
 * How TLS is spoken; undefined: as the server wants it. The client asks for the texts each time it connects, so that
 * renewed files count from then on. It is not given the files themselves: while it reads them nobody listens to its
 * socket, and a server that resets the connection at that moment would end the process.
 * @throws BrokerError CONFIG_INVALID if a file is not what it should be
 */
export function tlsOf({ url, caFile, certFile, keyFile }: ConnectOptions) {
  const addresses = addressesOf(url)
  if (!caFile && !certFile && !addresses.some((address) => address.startsWith('tls://'))) return undefined
  const files = { ...(caFile ? { caFile } : undefined), ...(certFile && keyFile ? { certFile, keyFile } : undefined) }
  const read = newest(() => readTlsFiles(files))
  return {
    get ca() {
      return read().ca
    },
    get cert() {
      return read().cert
    },
    get key() {
      return read().key
    },
    checkServerIdentity: identityCheck(addresses),
  } satisfies TlsOptions
}

/**
 * Node.js takes a server that the client dials by an IP address for `localhost`. Its certificate has to name one of the
 * addresses that are configured.
 */
function identityCheck(addresses: readonly string[]) {
  const hosts = addresses.map(hostOf)
  const ips = hosts.filter((host) => isIP(host) !== 0)
  return (name: string, certificate: PeerCertificate): Error | undefined => {
    const names =
      name === 'localhost' && ips.length > 0 ? hosts.filter((host) => ips.includes(host) || host === name) : [name]
    const faults = names.map((one) => checkServerIdentity(one, certificate))
    return faults.includes(undefined) ? undefined : faults[0]
  }
}
