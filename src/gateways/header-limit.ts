/**
 * uWS answers 431 to request headers above this limit. Its default of 4 KB is too small for long tokens in a header or
 * the query. It reads the variable once, while its native module loads, so import this file before uWebSockets.js.
 */
process.env.UWS_HTTP_MAX_HEADERS_SIZE ??= '16384'
