/** Shortest data that holds everything, whatever the number and the time. */
export const PAYLOAD_BYTES_MIN = 80

/**
 * An event's data, as JSON of exactly `bytes`: the id that its schema wants, its number, when it was due (µs of the
 * monotonic clock), and padding. The load client reads `n` and `t` off the bytes, so they stand in this order.
 */
export function eventData(idField: string, n: number, dueUs: number, bytes: number): string {
  const head = `{"${idField}":"bench","n":${n},"t":${Math.round(dueUs)},"pad":"`
  return `${head}${'x'.repeat(bytes - head.length - 2)}"}`
}
