import { checkLoginFiles } from '../source/nats/login-files.ts'
import type { Config } from './options.ts'
import { natsOptions } from './parts.ts'
import { checkTlsFiles } from './tls-files.ts'

/**
 * Checks the files that options name, for clients and for NATS, before anything is started.
 * @throws BrokerError CONFIG_INVALID, in one line that names the option
 */
export function checkFiles(config: Config): void {
  checkTlsFiles(config)
  checkLoginFiles(natsOptions(config))
}
