import { OPTIONS, type Option, type OptionName } from './options.ts'

/**
 * An option's value in a form that is safe for output, logs and errors. It hides secrets, the secret parts of addresses
 * (user, password, query), and keys in PEM that were pasted into the wrong option.
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
