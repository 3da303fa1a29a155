// The Vercel AI SDK, unmodified, through three of its providers: openai-compatible (chat), openai (responses), anthropic.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateObject, generateText, jsonSchema, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";

const Weather = z.object({ city: z.string(), degrees: z.int() });

function connect(ask) {
  const options = { baseURL: `${ask.url}/v1`, apiKey: ask.key };
  switch (ask.provider) {
    case "openai":
      return createOpenAI(options)("m");
    case "anthropic":
      return createAnthropic(options)("m");
    default:
      return createOpenAICompatible({ ...options, name: "gateway", includeUsage: true, supportsStructuredOutputs: true })(ask.model ?? "m");
  }
}

function say(ask, more = {}) {
  return { model: connect(ask), prompt: ask.prompt, maxRetries: ask.retries ?? 0, ...more };
}

export async function text(ask) {
  const { text, finishReason, usage } = await generateText(say(ask));
  return { text, finish: finishReason, tokens: usage.outputTokens };
}

// What a stream's error event becomes is thrown here; the SDK itself hands it on as one more part.
export async function stream(ask) {
  const answer = streamText(say(ask, { onError: () => {} }));
  let text = "";
  for await (const part of answer.fullStream) {
    if (part.type === "text-delta") text += part.text;
    if (part.type === "error") {
      const error = part.error instanceof Error ? part.error : new Error(part.error.message ?? JSON.stringify(part.error));
      error.message = `${error.message} | said: ${text}`;
      throw error;
    }
  }
  return { text, finish: await answer.finishReason, tokens: (await answer.usage).outputTokens };
}

export async function tools(ask) {
  const { function: look } = ask.tools[0];
  let called = null;
  const given = { look: tool({ inputSchema: jsonSchema(look.parameters), execute: async (input) => ((called = input), "sunny") }) };
  const whole = await generateText(say(ask, { tools: given, stopWhen: stepCountIs(3) }));
  const first = called;
  const streamed = streamText(say(ask, { tools: given, stopWhen: stepCountIs(3) }));
  await streamed.consumeStream();
  return { called: first, steps: whole.steps.length, text: whole.text, again: called, streamedSteps: (await streamed.steps).length };
}

export async function object(ask) {
  const { object } = await generateObject(say(ask, { schema: Weather }));
  const streamed = streamObject(say(ask, { schema: Weather }));
  for await (const _ of streamed.partialObjectStream);
  return { object, streamed: await streamed.object };
}

export async function embeddings(ask) {
  const provider = createOpenAICompatible({ baseURL: `${ask.url}/v1`, apiKey: ask.key, name: "gateway" });
  const { embeddings, usage } = await embedMany({ model: provider.textEmbeddingModel("m"), values: ["one", "two"], maxRetries: 0 });
  return { lengths: embeddings.map((one) => one.length), tokens: usage.tokens };
}

export async function abort(ask) {
  const controller = new AbortController();
  const answer = streamText(say(ask, { abortSignal: controller.signal, onError: () => {} }));
  let seen = 0;
  for await (const part of answer.fullStream) {
    if (part.type === "text-delta") seen += 1;
    if (seen === 1) controller.abort();
  }
  return { seen };
}
