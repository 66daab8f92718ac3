// What a program says to MWAA with the AWS SDK for JavaScript, and what it is told, printed as one JSON object.
// Usage: node mwaa.mjs ENVIRONMENT KEY SECRET, with the variables of `aerodrome shell-env`; the keys are those of a
// user who may do nothing.

import dns from "node:dns";
import http from "node:http";

import * as sdk from "@aws-sdk/client-mwaa";

const [Name, accessKeyId, secretAccessKey] = process.argv.slice(2);

// Unlike other SDKs, this one reads no variable that keeps `api.` and `env.` from being put before the host.
const mwaa = new sdk.MWAAClient({ disableHostPrefix: true });
const stranger = new sdk.MWAAClient({ disableHostPrefix: true, credentials: { accessKeyId, secretAccessKey } });
const forged = { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey };
const forger = new sdk.MWAAClient({ disableHostPrefix: true, credentials: forged });

async function everyEnvironment() {
  const found = [];
  for await (const page of sdk.paginateListEnvironments({ client: mwaa, pageSize: 1 }, {})) {
    found.push(...page.Environments);
  }
  return found;
}

async function tags(ResourceArn) {
  const listed = async () => (await mwaa.send(new sdk.ListTagsForResourceCommand({ ResourceArn }))).Tags;
  const before = await listed();
  await mwaa.send(new sdk.TagResourceCommand({ ResourceArn, Tags: { "said in": "JavaScript" } }));
  const tagged = await listed();
  await mwaa.send(new sdk.UntagResourceCommand({ ResourceArn, tagKeys: ["said in"] }));
  return { before, tagged, after: await listed() };
}

async function runInTheCli(words) {
  const { CliToken, WebServerHostname } = await mwaa.send(new sdk.CreateCliTokenCommand({ Name }));
  const headers = { Authorization: `Bearer ${CliToken}`, "Content-Type": "text/plain" };
  const answer = await fetch(`https://${WebServerHostname}/aws_mwaa/cli`, { method: "POST", headers, body: words });
  return atob((await answer.json()).stdout).trim();
}

async function signIn() {
  const { WebToken, WebServerHostname } = await mwaa.send(new sdk.CreateWebLoginTokenCommand({ Name }));
  const body = new URLSearchParams({ token: WebToken });
  const answer = await fetch(`https://${WebServerHostname}/aws_mwaa/login`, { method: "POST", body, redirect: "manual" });
  return answer.headers.getSetCookie().map((cookie) => cookie.split("=")[0]);
}

// As where every name below localhost leads to this machine: nothing has to be switched off there.
async function withPrefixes() {
  const hosts = new Set();
  const lookup = (host, options, callback) => {
    hosts.add(host);
    dns.lookup(host.endsWith(".localhost") ? "127.0.0.1" : host, options, callback);
  };
  const endpoint = process.env.AWS_ENDPOINT_URL.replace("127.0.0.1", "localhost");
  const client = new sdk.MWAAClient({ endpoint, requestHandler: { httpAgent: new http.Agent({ lookup }) } });
  await client.send(new sdk.ListEnvironmentsCommand({}));
  await client.send(new sdk.CreateCliTokenCommand({ Name }));
  await client.send(new sdk.PublishMetricsCommand({ EnvironmentName: Name, MetricData: [] }));
  return [...hosts].sort();
}

async function refusal(call) {
  const error = await call.then(
    () => new Error("it was not refused"),
    (reason) => reason,
  );
  if (!(error instanceof sdk.MWAAServiceException)) throw error;
  const { name, message, $metadata } = error;
  const isModelled = name in sdk && error instanceof sdk[name];
  return { name, message, isModelled, status: $metadata.httpStatusCode, requestId: $metadata.requestId };
}

const { Environment } = await mwaa.send(new sdk.GetEnvironmentCommand({ Name }));
const { Arn, SourceBucketArn, DagS3Path, ExecutionRoleArn, NetworkConfiguration } = Environment;
const like = { Name: "from-js", SourceBucketArn, DagS3Path, ExecutionRoleArn, NetworkConfiguration };

const said = {
  environments: await everyEnvironment(),
  environment: Environment,
  tags: await tags(Arn),
  cli: await runInTheCli("version"),
  cookies: await signIn(),
  prefixed: await withPrefixes(),
  refusals: {
    create: await refusal(mwaa.send(new sdk.CreateEnvironmentCommand({ ...like, MinWorkers: 9, MaxWorkers: 3 }))),
    taken: await refusal(mwaa.send(new sdk.CreateEnvironmentCommand({ ...like, Name }))),
    update: await refusal(mwaa.send(new sdk.UpdateEnvironmentCommand({ Name, AirflowVersion: "1.2.3" }))),
    delete: await refusal(mwaa.send(new sdk.DeleteEnvironmentCommand({ Name: "nobody" }))),
    tag: await refusal(mwaa.send(new sdk.TagResourceCommand({ ResourceArn: Arn, Tags: { "aws:reserved": "x" } }))),
    notAllowed: await refusal(stranger.send(new sdk.GetEnvironmentCommand({ Name }))),
    noRole: await refusal(stranger.send(new sdk.CreateWebLoginTokenCommand({ Name }))),
    forged: await refusal(forger.send(new sdk.ListEnvironmentsCommand({}))),
  },
};
console.log(JSON.stringify(said));
