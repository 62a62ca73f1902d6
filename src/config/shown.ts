import { OPTIONS, type Option, type OptionName } from './options.ts'

/**
 * An option's value as it may stand in an output, a log or an error: secrets are not told, nor what is secret in
 * addresses (user and password, a query) and in texts that are pasted into the wrong option.
 */
export function shown(name: OptionName, value: unknown): string {
  const option: Option = OPTIONS[name]
  if (option.secret) return '(set)'
  const text = String(value)
  if (text.includes('-----BEGIN')) return '(PEM text)'
  if (option.address) return text.split(',').map(withoutSecrets).join(',')
  return text
}

function withoutSecrets(address: string): string {
  return address.replace(/^(\s*(?:[a-z][a-z+]*:\/\/)?).*@/i, '$1…@').replace(/\?.*$/, '?…')
}
