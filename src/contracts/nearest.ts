/** The known name that was probably meant: at most two edits away, or one that begins with the given name. */
export function nearest(name: string, names: readonly string[]): string | undefined {
  const key = name.toLowerCase()
  const near = names.map((other) => ({
    other,
    far: key.length >= 3 && other.toLowerCase().startsWith(key) ? 1 : distance(key, other.toLowerCase()),
  }))
  return near.filter(({ far }) => far <= Math.min(2, key.length - 1)).sort((a, b) => a.far - b.far)[0]?.other
}

/** The number of letters to insert, delete or change (Levenshtein). */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++)
      next.push(
        Math.min(
          (row[j] as number) + 1,
          (next[j - 1] as number) + 1,
          (row[j - 1] as number) + (from[i - 1] === to[j - 1] ? 0 : 1),
        ),
      )
    row = next
  }
  return row[to.length] as number
}
