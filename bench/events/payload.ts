/** Length of data that has room for every field, however large its numbers. */
export const PAYLOAD_BYTES_MIN = 80

export interface Payload {
  /** Name of the id in the data, and what it is. */
  readonly idField: string
  readonly id: string
  /** Further fields, as JSON, each with a comma behind it. */
  readonly fields?: string
  /** Number within its series. */
  readonly n: number
  /** When the event is due: µs of the monotonic clock. */
  readonly dueUs: number
  /** Its series; 0 is left out. */
  readonly series: number
}

/**
 * An event's data as JSON: the id that its schema requires, its numbers, and padding up to exactly `bytes`, if that is
 * enough. The load client reads `n`, `t` and `k` from the bytes in this order.
 */
export function eventData({ idField, id, fields = '', n, dueUs, series }: Payload, bytes: number): string {
  const head = `{"${idField}":"${id}",${fields}"n":${n},"t":${Math.round(dueUs)},${series === 0 ? '' : `"k":${series},`}"pad":"`
  return `${head}${'x'.repeat(Math.max(0, bytes - head.length - 2))}"}`
}
