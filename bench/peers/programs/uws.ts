/** The build of uWebSockets.js that the broker takes: this program lies in dist/bench/, beside the broker in dist/. */
export const { App, us_socket_local_port } = (await import(
  new URL('../../../uws.js', import.meta.url).href
)) as typeof import('uWebSockets.js')
