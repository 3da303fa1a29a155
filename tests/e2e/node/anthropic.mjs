// The npm package `@anthropic-ai/sdk`, unmodified.
import Anthropic from "@anthropic-ai/sdk";

function connect(ask) {
  const key = ask.bearer ? { apiKey: null, authToken: ask.key } : { apiKey: ask.key };
  return new Anthropic({ baseURL: ask.url, maxRetries: ask.retries ?? 0, timeout: ask.timeout ?? 30_000, ...key });
}

function message(ask, more = {}) {
  return { model: ask.model ?? "m", max_tokens: 99, messages: [{ role: "user", content: ask.prompt }], ...more };
}

function getTools(ask) {
  const { function: look } = ask.tools[0];
  return [{ name: look.name, input_schema: look.parameters }];
}

export async function plain(ask) {
  const { data, response, request_id } = await connect(ask).messages.create(message(ask)).withResponse();
  return {
    text: data.content[0].text,
    stop: data.stop_reason,
    tokens: data.usage.output_tokens,
    endpoint: response.headers.get("x-providerrank-endpoint"),
    id: request_id,
  };
}

export async function stream(ask) {
  let text = "";
  const kinds = [];
  for await (const event of await connect(ask).messages.create(message(ask, { stream: true }))) {
    if (event.type === "content_block_delta") text += event.delta.text;
    else kinds.push(event.type);
  }
  return { text, kinds };
}

export async function helper(ask) {
  const final = await connect(ask).messages.stream(message(ask)).finalMessage();
  return { text: final.content[0].text, stop: final.stop_reason, tokens: final.usage.output_tokens };
}

export async function tools(ask) {
  const client = connect(ask);
  const given = getTools(ask);
  const first = await client.messages.create(message(ask, { tools: given, tool_choice: { type: "any" } }));
  const [call] = first.content;
  const messages = [
    ...message(ask).messages,
    { role: "assistant", content: first.content },
    { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "sunny" }] },
  ];
  const second = await client.messages.create(message(ask, { messages, tools: given }));
  const streamed = await client.messages.stream(message(ask, { tools: given })).finalMessage();
  return { name: call.name, input: call.input, stop: first.stop_reason, then: second.content[0].type, streamed: streamed.content[0].input };
}

export async function runTools(ask) {
  const { function: look } = ask.tools[0];
  let called = null;
  const tool = {
    name: look.name,
    type: "custom",
    input_schema: look.parameters,
    parse: (given) => given,
    run: (given) => ((called = given), "sunny"),
  };
  const final = await connect(ask).beta.messages.toolRunner(message(ask, { tools: [tool] }));
  return { called, stop: final.stop_reason };
}

export async function parse(ask) {
  const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
  const answer = await connect(ask).messages.create(message(ask, { output_config: { format: { type: "json_schema", schema } } }));
  return { parsed: JSON.parse(answer.content[0].text) };
}

export async function beta(ask) {
  const answer = await connect(ask).beta.messages.create(message(ask, { betas: ["context-1m-2025-08-07"] }));
  return { text: answer.content[0].text };
}

export async function models(ask) {
  const names = [];
  for await (const model of connect(ask).models.list()) names.push(model.id);
  return { names };
}

export async function abort(ask) {
  const controller = new AbortController();
  let seen = 0;
  const events = await connect(ask).messages.create(message(ask, { stream: true }), { signal: controller.signal });
  for await (const event of events) {
    if (event.type === "content_block_delta") seen += 1;
    if (seen === 1) controller.abort();
  }
  return { seen };
}
