// node-oidc-provider as its documentation sets it up: its memory adapter, client credentials, a resource whose access
// tokens are JWTs. As many processes of node:cluster as asked for, all with the same key.
import cluster from 'node:cluster';
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const { PORT, ALG, SECRET, RESOURCE, WORKERS } = process.env;

if (cluster.isPrimary) {
  const { privateKey } = ALG === 'RS256'
    ? generateKeyPairSync('rsa', { modulusLength: 2048 })
    : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const KEY = JSON.stringify(privateKey.export({ format: 'jwk' }));
  for (let number = 0; number < Number(WORKERS); number += 1) cluster.fork({ KEY });
} else {
  const provider = new Provider(`http://127.0.0.1:${PORT}`, {
    clients: [{
      client_id: 'svc',
      client_secret: SECRET,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: 'client_secret_post',
      id_token_signed_response_alg: ALG,
    }],
    jwks: { keys: [{ ...JSON.parse(process.env.KEY), use: 'sig', alg: ALG, kid: 'key' }] },
    scopes: ['read'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'read',
          audience: RESOURCE,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          jwt: { sign: { alg: ALG } },
        }),
      },
    },
  });
  provider.listen(Number(PORT), '127.0.0.1');
}
