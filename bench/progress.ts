const SHOWN = process.stderr.isTTY

/** One line on stderr that says what is going on: redrawn on a terminal, a line for each step elsewhere. */
export function progress(step: string): void {
  process.stderr.write(SHOWN ? `\r\x1b[K${step}` : `${step}\n`)
}

/** Takes the line away. */
export function endProgress(): void {
  if (SHOWN) process.stderr.write('\r\x1b[K')
}
