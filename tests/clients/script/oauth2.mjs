// Signing in with a provider: the SDK waits on its event stream while the browser comes back through /api/oauth2-redirect.
import { createServer } from 'node:http';
import { once } from 'node:events';
import { request } from '../raw.mjs';

export async function oauth2({ saw, refused, admin, client, url, after }) {
  const provider = await startProvider(after);
  await admin.collections.update('users', {
    oauth2: {
      enabled: true,
      providers: [
        { name: 'oidc', clientId: 'clients', clientSecret: 'secret', authURL: `${provider}/authorize`, tokenURL: `${provider}/token`, userInfoURL: `${provider}/user` },
      ],
    },
  });
  const own = client();
  await saw('a user signs in with a provider', () =>
    own.collection('users').authWithOAuth2({ provider: 'oidc', urlCallback: (address) => comeBack(saw, url, address) }),
  );
  await saw('the providers of a user', () => own.collection('_externalAuths').getFullList());
  await saw('a way back that nobody waits for', () => redirect(url, 'code=any&state=nobody'));
  await refused(400, 'a code that the provider does not know', () => own.collection('users').authWithOAuth2Code('oidc', 'wrong', 'verifier', `${url}/api/oauth2-redirect`));
  await admin.collections.update('users', { oauth2: { enabled: false } });
}

// What the provider's page does to the browser window that the SDK opened.
async function comeBack(saw, url, address) {
  const asked = new URL(address).searchParams;
  await saw('where the provider is to send the browser', () => asked.get('redirect_uri'));
  await saw('the way back from the provider', () => redirect(url, `code=right&state=${asked.get('state')}`));
}

async function redirect(url, query) {
  const { status, header } = await request(`${url}/api/oauth2-redirect?${query}`);
  return { answer: status, location: header('location') };
}

async function startProvider(after) {
  const server = createServer(async (incoming, outgoing) => {
    const form = new URLSearchParams((await incoming.toArray()).join(''));
    const answers = {
      '/token': form.get('code') === 'right' && { access_token: 'token', token_type: 'Bearer' },
      '/user': { sub: 'carol', email: 'carol@example.com', email_verified: true, name: 'Carol' },
    };
    const answer = answers[incoming.url];
    outgoing.writeHead(answer ? 200 : 400, { 'content-type': 'application/json' }).end(JSON.stringify(answer || { error: 'invalid_grant' }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}
