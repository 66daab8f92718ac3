// A certified OpenID Connect provider on loopback, with TLS. One argument, JSON:
// {port, key, certificate, signing, client, secret, redirects, groups: {login in lower case: [group]}, conform}
// Whoever signs in is believed, without a password. With `conform` an ID token has no groups: userinfo tells them.
import { createHash, createPrivateKey, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { Provider } from "oidc-provider";

const given = JSON.parse(process.argv[2]);
const signing = createPrivateKey(readFileSync(given.signing)).export({ format: "jwk" });
const key = { ...signing, kid: createHash("sha256").update(signing.n).digest("hex"), use: "sig", alg: "RS256" };

const provider = new Provider(`https://localhost:${given.port}`, {
  clients: [
    {
      client_id: given.client,
      client_secret: given.secret,
      redirect_uris: given.redirects,
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
  ],
  jwks: { keys: [key] },
  cookies: { keys: [randomBytes(16).toString("hex")] },
  pkce: { required: () => true },
  claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
  conformIdTokenClaims: given.conform,
  findAccount: (_, sub) => ({
    accountId: sub,
    claims: () => ({ sub, preferred_username: sub, groups: given.groups[sub.toLowerCase()] ?? [] }),
  }),
});

const server = createServer({ key: readFileSync(given.key), cert: readFileSync(given.certificate) }, provider.callback());
server.listen(given.port, "127.0.0.1", () => console.log("ready"));
