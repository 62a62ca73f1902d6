/**
 * uWS answers 431 to larger request headers, and by default to more than 4 KB: long tokens in a header or the query
 * want more. It reads the variable once, while its native module is loaded, so this is to be imported before
 * uWebSockets.js.
 */
process.env.UWS_HTTP_MAX_HEADERS_SIZE ??= '16384'
