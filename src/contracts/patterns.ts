/** The default pattern of ids in the braces of a room's pattern. */
const ID = '[A-Za-z0-9_-]{1,128}'

/** `store:{id}` → a regular expression that captures the id. */
export function roomPattern(pattern: string, id = ID): RegExp {
  return new RegExp(`^${literalParts(pattern).join(`(${id})`)}$`)
}

/** `/project/{name}` → a regular expression that captures the name. */
export function namespacePattern(namespace: string): RegExp {
  return new RegExp(`^${literalParts(namespace).join('([^/]{1,128})')}$`)
}

function literalParts(pattern: string): string[] {
  return pattern.split(/\{[^}]*\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
}
