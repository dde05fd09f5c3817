// A raw event stream of PocketBase's realtime API.
import http from 'node:http';

/** Opens one, and is done once PocketBase has given it a client id. `heard` fills with the ids of the records it was told of. */
export function listen(url, { localAddress } = {}) {
  return new Promise((resolve, reject) => {
    const heard = [];
    const outgoing = http.get(`${url}/api/realtime`, { agent: false, localAddress, headers: { accept: 'text/event-stream' } }, (incoming) => {
      let rest = '';
      incoming.setEncoding('utf8').on('data', (text) => {
        const blocks = (rest + text).split('\n\n');
        rest = blocks.pop();
        for (const { event, data } of blocks.map(fields)) {
          const { clientId, record } = JSON.parse(data);
          if (event === 'PB_CONNECT') resolve({ clientId, heard, hangUp: () => outgoing.destroy() });
          else heard.push(record.id);
        }
      });
    });
    outgoing.on('error', reject);
  });
}

function fields(block) {
  const split = (line, at = line.indexOf(':')) => [line.slice(0, at), line.slice(at + 1)];
  return Object.fromEntries(block.split('\n').map((line) => split(line)));
}
