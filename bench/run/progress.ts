const SHOWN = process.stderr.isTTY
const BAR_WIDTH = 24
const REDRAW_MS = 200

let drawing: NodeJS.Timeout | undefined

/**
 * Shows the current step on stderr: on a terminal as one line that is redrawn, with a bar if the duration is known;
 * otherwise as a plain line for each step.
 * @param seconds how long the step takes
 */
export function progress(step: string, seconds?: number): void {
  clearInterval(drawing)
  if (!SHOWN) {
    process.stderr.write(`${step}\n`)
    return
  }
  const startMs = Date.now()
  const draw = () =>
    process.stderr.write(`\r\x1b[K${seconds ? bar(Math.min(1, (Date.now() - startMs) / 1000 / seconds)) : ''}${step}`)
  draw()
  if (seconds) drawing = setInterval(draw, REDRAW_MS).unref()
}

/** Clears the line. */
export function endProgress(): void {
  clearInterval(drawing)
  if (SHOWN) process.stderr.write('\r\x1b[K')
}

function bar(part: number): string {
  const filled = Math.round(part * BAR_WIDTH)
  return `[${'#'.repeat(filled)}${'.'.repeat(BAR_WIDTH - filled)}] `
}
