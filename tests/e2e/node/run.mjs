// One process for every case: a line of JSON in ({"case", "url", ...}), a line of JSON out ({"ok": ...} or {"error": ...}).
import { createInterface } from "node:readline";

import * as aiSdk from "./ai_sdk.mjs";
import * as anthropic from "./anthropic.mjs";
import * as openai from "./openai.mjs";

const CASES = { openai, anthropic, ai: aiSdk };

// What the clients themselves print is not for the one who reads our lines.
console.log = console.info = console.warn = console.error;

// How an error looks to whoever catches it: its class, and what the SDK has put on it.
function describe(error) {
  const { status, statusCode, code, type, param, requestID, request_id, isRetryable } = error;
  return {
    class: error.constructor.name,
    message: error.message,
    status: status ?? statusCode ?? null,
    code: code ?? null,
    type: type ?? null,
    param: param ?? null,
    id: requestID ?? request_id ?? null,
    retryAfter: (error.headers?.get?.("retry-after") ?? error.responseHeaders?.["retry-after"]) ?? null,
    retryable: isRetryable ?? null,
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  const ask = JSON.parse(line);
  const [family, name] = ask.case.split(".");
  let told;
  try {
    told = { ok: (await CASES[family][name](ask)) ?? null };
  } catch (error) {
    told = { error: describe(error) };
  }
  process.stdout.write(JSON.stringify(told) + "\n");
}
