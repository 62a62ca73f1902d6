/** NATS subjects and patterns of them: `*` stands for one token, `>` at the end for one or more. */

/** @returns what the wildcards of a pattern stand for in a subject, or undefined if it does not match */
export function wildcardsIn(pattern: readonly string[], subject: readonly string[]): string[] | undefined {
  const found: string[] = []
  for (const [index, token] of pattern.entries()) {
    const given = subject[index]
    if (given === undefined) return undefined
    if (token === '>') return [...found, subject.slice(index).join('.')]
    if (token === '*') found.push(given)
    else if (token !== given) return undefined
  }
  return pattern.length === subject.length ? found : undefined
}

/** Whether a subject exists that both patterns match. */
export function intersects(one: string, other: string): boolean {
  const [left, right] = [one.split('.'), other.split('.')]
  for (let index = 0; ; index++) {
    const [a, b] = [left[index], right[index]]
    if (a === undefined || b === undefined) return a === b
    if (a === '>' || b === '>') return true
    if (a !== b && a !== '*' && b !== '*') return false
  }
}

/** A test of subjects: whether one of the patterns matches. */
export function matcherOf(patterns: readonly string[]): (subject: string) => boolean {
  const split = patterns.map((pattern) => pattern.split('.'))
  return (subject) => {
    const tokens = subject.split('.')
    return split.some((pattern) => wildcardsIn(pattern, tokens) !== undefined)
  }
}
