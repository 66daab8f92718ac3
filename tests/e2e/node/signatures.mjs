// Requests as the AWS SDK for JavaScript signs them, with fixed keys at a fixed moment, printed as a JSON list.
// tests/unit/identity/js_signatures.json is its output: npm ci && node signatures.mjs > js_signatures.json

const NOW = Date.UTC(2026, 2, 4, 5, 6, 7);
class Stopped extends Date {
  constructor(...given) {
    super(...(given.length ? given : [NOW]));
  }
  static now() {
    return NOW;
  }
}
globalThis.Date = Stopped;

const sdk = await import("@aws-sdk/client-mwaa");
const { SignatureV4 } = await import("@smithy/signature-v4");
const { HttpRequest } = await import("@smithy/protocol-http");
const { Sha256 } = await import("@aws-crypto/sha256-js");

const KEYS = {
  long: { accessKeyId: "AKIAJAVASCRIPT000001", secretAccessKey: "long/term+secret" },
  temporary: { accessKeyId: "ASIAJAVASCRIPT000001", secretAccessKey: "temporary/secret", sessionToken: "token/+=" },
};
const ResourceArn = "arn:aws:airflow:eu-west-1:123456789012:environment/a-b_c";
const recorded = [];

function record(name, { method, hostname, port, path, query, headers, body }) {
  const escaped = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  const pairs = Object.entries(query ?? {}).flatMap(([key, value]) => [value].flat().map((each) => [key, each]));
  const spelled = pairs.map(([key, value]) => `${escaped(key)}=${escaped(value ?? "")}`).join("&");
  const { "user-agent": _, ...kept } = headers; // not signed, and it tells of the machine
  const sent = { ...kept, host: headers.host ?? (port ? `${hostname}:${port}` : hostname) };
  recorded.push({ name, method, path, query: spelled, headers: sent, body: body ? Buffer.from(body).toString() : "" });
}

class Caught extends Error {}

function client(credentials) {
  return new sdk.MWAAClient({
    credentials,
    region: "eu-west-1",
    endpoint: "http://localhost:4610",
    disableHostPrefix: true,
    maxAttempts: 1,
    requestHandler: {
      handle(request) {
        throw new Caught(JSON.stringify({ ...request, body: request.body ? Buffer.from(request.body).toString() : "" }));
      },
    },
  });
}

const CALLS = {
  list: new sdk.ListEnvironmentsCommand({ NextToken: "a+b/=ü ~*'()!", MaxResults: 3 }),
  get: new sdk.GetEnvironmentCommand({ Name: "a-b_c" }),
  update: new sdk.UpdateEnvironmentCommand({ Name: "a-b_c", DagS3Path: "dags/ü", MaxWorkers: 3 }),
  delete: new sdk.DeleteEnvironmentCommand({ Name: "a-b_c" }),
  tag: new sdk.TagResourceCommand({ ResourceArn, Tags: { "ü b": "x y" } }),
  untag: new sdk.UntagResourceCommand({ ResourceArn, tagKeys: ["b", "a b", "a"] }),
  token: new sdk.CreateCliTokenCommand({ Name: "a-b_c" }),
};

for (const [kind, credentials] of Object.entries(KEYS)) {
  for (const [call, command] of Object.entries(CALLS)) {
    try {
      await client(credentials).send(command);
    } catch (error) {
      if (!(error instanceof Caught)) throw error;
      record(`${call}, ${kind} key`, JSON.parse(error.message));
    }
  }
  const signer = new SignatureV4({ credentials, region: "eu-west-1", service: "airflow", sha256: Sha256 });
  const at = { protocol: "http:", hostname: "localhost", port: 4610, headers: { host: "localhost:4610" } };
  const get = new HttpRequest({ ...at, method: "GET", path: "/environments/a-b_c", query: { flag: "", "a b": ["2", "1"] } });
  record(`presigned, ${kind} key`, await signer.presign(get, { expiresIn: 900 }));
}
console.log(JSON.stringify(recorded, null, 1));
