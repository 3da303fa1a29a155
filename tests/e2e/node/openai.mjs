// The npm package `openai`, unmodified. Each case returns what a test asserts on; errors are left to run.mjs.
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const Weather = z.object({ city: z.string(), degrees: z.int() });

function connect(ask) {
  return new OpenAI({ baseURL: `${ask.url}/v1`, apiKey: ask.key, maxRetries: ask.retries ?? 0, timeout: ask.timeout ?? 30_000 });
}

function chat(ask, more = {}) {
  return { model: ask.model ?? "m", messages: [{ role: "user", content: ask.prompt }], ...more };
}

export async function plain(ask) {
  const { data, response, request_id } = await connect(ask).chat.completions.create(chat(ask)).withResponse();
  return {
    text: data.choices[0].message.content,
    finish: data.choices[0].finish_reason,
    tokens: data.usage.completion_tokens,
    endpoint: response.headers.get("x-providerrank-endpoint"),
    id: request_id,
  };
}

export async function stream(ask) {
  const chunks = await connect(ask).chat.completions.create(chat(ask, { stream: true, stream_options: { include_usage: true } }));
  let text = "";
  let usages = 0;
  for await (const chunk of chunks) {
    text += chunk.choices[0]?.delta.content ?? "";
    usages += chunk.usage ? 1 : 0;
  }
  return { text, usages };
}

export async function helper(ask) {
  const runner = connect(ask).chat.completions.stream(chat(ask));
  const final = await runner.finalChatCompletion();
  return { text: final.choices[0].message.content, finish: final.choices[0].finish_reason };
}

export async function tools(ask) {
  const client = connect(ask);
  const first = await client.chat.completions.create(chat(ask, { tools: ask.tools, tool_choice: "required" }));
  const message = first.choices[0].message;
  const [call] = message.tool_calls;
  const messages = [...chat(ask).messages, message, { role: "tool", tool_call_id: call.id, content: "sunny" }];
  const second = await client.chat.completions.create(chat(ask, { messages, tools: ask.tools }));
  let parts = "";
  for await (const chunk of await client.chat.completions.create(chat(ask, { tools: ask.tools, stream: true }))) {
    parts += chunk.choices[0]?.delta.tool_calls?.[0].function.arguments ?? "";
  }
  return { name: call.function.name, arguments: call.function.arguments, streamed: parts, finish: second.choices[0].finish_reason };
}

export async function runTools(ask) {
  let called = null;
  const look = {
    type: "function",
    function: { ...ask.tools[0].function, parse: JSON.parse, function: (given) => ((called = given), "sunny") },
  };
  const runner = connect(ask).chat.completions.runTools(chat(ask, { tools: [look] }));
  return { text: await runner.finalContent(), called };
}

export async function parse(ask) {
  const client = connect(ask);
  const answer = await client.chat.completions.parse(chat(ask, { response_format: zodResponseFormat(Weather, "weather") }));
  return { parsed: answer.choices[0].message.parsed };
}

export async function embeddings(ask) {
  const client = connect(ask);
  const answer = await client.embeddings.create({ model: "m", input: ["one", "two"] });
  const plain = await client.embeddings.create({ model: "m", input: ["one", "two"], encoding_format: "float" });
  return { lengths: answer.data.map((one) => one.embedding.length), first: answer.data[0].embedding, plain: plain.data[0].embedding };
}

export async function response(ask) {
  const client = connect(ask);
  const answer = await client.responses.create({ model: "m", input: ask.prompt });
  let text = "";
  let last = null;
  for await (const event of await client.responses.create({ model: "m", input: ask.prompt, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event.type;
  }
  const helped = await client.responses.stream({ model: "m", input: ask.prompt }).finalResponse();
  const parsed = await client.responses.parse({ model: "m", input: ask.prompt, text: { format: zodTextFormat(Weather, "weather") } });
  return { text: answer.output_text, streamed: text, last, helped: helped.output_text, parsed: parsed.output_parsed, tokens: answer.usage.output_tokens };
}

export async function responseTools(ask) {
  const { function: look } = ask.tools[0];
  const client = connect(ask);
  const given = [{ type: "function", name: look.name, parameters: look.parameters, strict: null }];
  const first = await client.responses.create({ model: "m", input: ask.prompt, tools: given });
  const [call] = first.output;
  const input = [{ role: "user", content: ask.prompt }, ...first.output, { type: "function_call_output", call_id: call.call_id, output: "sunny" }];
  const second = await client.responses.create({ model: "m", input, tools: given });
  return { name: call.name, arguments: call.arguments, text: second.output_text };
}

export async function responseStream(ask) {
  let text = "";
  for await (const event of await connect(ask).responses.create({ model: "m", input: ask.prompt, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  return { text };
}

export async function completion(ask) {
  return { text: (await connect(ask).completions.create({ model: "m", prompt: ask.prompt })).choices[0].text };
}

export async function models(ask) {
  const names = [];
  for await (const model of connect(ask).models.list()) names.push(model.id);
  return { names };
}

// Gives up as soon as the first words are there, as a user who presses stop does.
export async function abort(ask) {
  const controller = new AbortController();
  const chunks = await connect(ask).chat.completions.create(chat(ask, { stream: true }), { signal: controller.signal });
  let seen = 0;
  for await (const chunk of chunks) {
    if (chunk.choices[0]?.delta.content) seen += 1;
    if (seen === 1) controller.abort();
  }
  return { seen };
}

// The same before anything has come.
export async function abortEarly(ask) {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 200);
  await connect(ask).chat.completions.create(chat(ask), { signal: controller.signal });
}
