// A mail server that delivers nothing and remembers everything.
import { createServer } from 'node:net';
import { once } from 'node:events';
import { atEnd, until } from './harness.mjs';

/** Listens until the test ends. `next(to)` waits for the next mail to an address that was not taken yet. */
export async function startSmtpSink(t) {
  const mails = [];
  const sockets = new Set();
  const server = createServer((socket) => {
    sockets.add(socket.on('close', () => sockets.delete(socket)).on('error', () => {}));
    converse(socket, (mail) => mails.push(mail));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => {
    server.close();
    sockets.forEach((socket) => socket.destroy());
  });
  return {
    port: server.address().port,
    async next(to) {
      const at = await until(`a mail to ${to}`, () => mails.findIndex((mail) => mail.to.includes(to)) + 1);
      return mails.splice(at - 1, 1)[0];
    },
  };
}

function converse(socket, deliver) {
  let buffer = '';
  let mail = { to: [] };
  let inData = false;
  socket.write('220 sink ready\r\n');
  socket.setEncoding('utf8').on('data', (text) => {
    buffer += text;
    for (;;) {
      const end = buffer.indexOf(inData ? '\r\n.\r\n' : '\r\n');
      if (end < 0) return;
      const said = buffer.slice(0, end);
      buffer = buffer.slice(end + (inData ? 5 : 2));
      if (inData) {
        deliver({ ...mail, ...parse(said) });
        mail = { to: [] };
        inData = false;
        socket.write('250 kept\r\n');
      } else if (/^DATA/i.test(said)) {
        inData = true;
        socket.write('354 go on\r\n');
      } else if (/^QUIT/i.test(said)) {
        socket.end('221 bye\r\n');
      } else {
        const to = /^RCPT TO:<(.+)>/i.exec(said);
        if (to) mail.to.push(to[1]);
        socket.write('250 ok\r\n');
      }
    }
  });
}

function parse(message) {
  const subject = /^Subject: (.*)$/m.exec(message)?.[1].trim();
  const text = message.replace(/=\r?\n/g, '').replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return { subject, text };
}
