// One HTTP request as it is on the wire: no redirects, no decompression, header lines in their order.
import http from 'node:http';

/**
 * Sends one request on a connection of its own. Header values may be lists, for several lines of one name.
 * `withheld`: the body that the headers announce is never sent.
 */
export function request(url, { method = 'GET', path, headers = {}, body, withheld, localAddress } = {}) {
  return new Promise((resolve, reject) => {
    const { hostname, port, pathname, search } = new URL(url);
    // A connection that the server ends can end for the client before it has read all of a long answer.
    const sent = { connection: 'keep-alive', ...headers };
    // `path` given apart reaches the wire as it is written; a URL would be tidied up first.
    const outgoing = http.request({ hostname, port, path: path ?? pathname + search, method, headers: sent, localAddress, agent: false });
    outgoing.once('error', reject);
    outgoing.once('response', (incoming) => {
      const chunks = [];
      incoming.on('data', (chunk) => chunks.push(chunk));
      incoming.once('error', reject);
      if (withheld) incoming.once('close', () => outgoing.destroy());
      incoming.once('end', () => {
        const body = Buffer.concat(chunks);
        resolve({
          status: incoming.statusCode,
          reason: incoming.statusMessage,
          headers: pairs(incoming.rawHeaders),
          header: (name) => incoming.headers[name],
          trailers: pairs(incoming.rawTrailers),
          body,
          json: () => JSON.parse(body.toString()),
        });
      });
    });
    if (withheld) outgoing.flushHeaders();
    else outgoing.end(body);
  });
}

/** JSON there and back, as whoever `token` belongs to. */
export async function json(url, { method = 'GET', token, body, ...more } = {}) {
  const headers = { 'content-type': 'application/json', ...(token && { authorization: token }), ...more.headers };
  const answer = await request(url, { method, ...more, headers, body: body && JSON.stringify(body) });
  if (answer.status >= 400) throw new Error(`${method} ${url} answered ${answer.status}: ${answer.body}`);
  return answer.body.length ? answer.json() : undefined;
}

function pairs(flat) {
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);
}
