"""Clients that do not go with this project's own packages, each as it is published: litellm and LangChain.

One process for every case: a line of JSON in (``{"case", "url", …}``), a line of JSON out (``tests/e2e/resident.py``).
It runs in an environment of its own and imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "CRITICAL", "LANGSMITH_TRACING": "false"}

import litellm
import pydantic
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

litellm.suppress_debug_info = True
litellm.telemetry = False

Ask = dict[str, Any]


class Weather(pydantic.BaseModel):
    """Weather of a city."""

    city: str
    degrees: int


# ---- litellm: openai/m asks in chat, anthropic/m in messages ---------------------------------------------------------


def call(ask: Ask, **more: Any) -> dict[str, Any]:
    provider = ask.get("provider", "openai")
    return {
        "model": f"{provider}/{ask.get('model', 'm')}",
        "api_base": ask["url"] + ("/v1" if provider == "openai" else ""),
        "api_key": ask["key"],
        "messages": [{"role": "user", "content": ask["prompt"]}],
        "max_tokens": 99,
        "num_retries": 0,
        "max_retries": ask.get("retries", 0),
        "timeout": ask.get("timeout", 30.0),
        **more,
    }


def litellm_chat(ask: Ask) -> Any:
    answer = litellm.completion(**call(ask))
    said = answer.choices[0]
    return {"text": said.message.content, "finish": said.finish_reason, "tokens": answer.usage.completion_tokens}


async def litellm_async(ask: Ask) -> Any:
    answer = await litellm.acompletion(**call(ask))
    return {"text": answer.choices[0].message.content}


def litellm_stream(ask: Ask) -> Any:
    said, finish, tokens = "", None, None
    for chunk in litellm.completion(**call(ask, stream=True, stream_options={"include_usage": True})):
        said += chunk.choices[0].delta.content or ""
        finish = chunk.choices[0].finish_reason or finish
        tokens = chunk.usage.completion_tokens if getattr(chunk, "usage", None) else tokens
    return {"text": said, "finish": finish, "tokens": tokens}


def litellm_tools(ask: Ask) -> Any:
    first = litellm.completion(**call(ask, tools=ask["tools"], tool_choice="required"))
    message = first.choices[0].message
    [made] = message.tool_calls
    turns = [
        {"role": "user", "content": ask["prompt"]},
        message.model_dump(),
        {"role": "tool", "tool_call_id": made.id, "name": "look", "content": "sunny"},
    ]
    second = litellm.completion(**call(ask, messages=turns, tools=ask["tools"]))
    streamed = ""
    for chunk in litellm.completion(**call(ask, tools=ask["tools"], stream=True)):
        for one in chunk.choices[0].delta.tool_calls or ():
            streamed += one.function.arguments or ""
    return {
        "name": made.function.name,
        "arguments": json.loads(made.function.arguments),
        "streamed": json.loads(streamed),
        "finish": [first.choices[0].finish_reason, second.choices[0].finish_reason],
    }


def litellm_schema(ask: Ask) -> Any:
    answer = litellm.completion(**call(ask, response_format=Weather))
    return {"parsed": Weather.model_validate_json(answer.choices[0].message.content).model_dump()}


def litellm_embeddings(ask: Ask) -> Any:
    answer = litellm.embedding(model="openai/m", input=["one", "two"], api_base=f"{ask['url']}/v1", api_key=ask["key"])
    return {"lengths": [len(one["embedding"]) for one in answer.data], "tokens": answer.usage.prompt_tokens}


def litellm_responses(ask: Ask) -> Any:
    where = {"model": "openai/m", "api_base": f"{ask['url']}/v1", "api_key": ask["key"]}
    answer = litellm.responses(input=ask["prompt"], **where)
    [message] = answer.output
    streamed = ""
    for event in litellm.responses(input=ask["prompt"], stream=True, **where):
        if event.type == "response.output_text.delta":
            streamed += event.delta
    return {"text": message.content[0].text, "streamed": streamed}


# ---- LangChain: ChatOpenAI in chat and in responses, ChatAnthropic in messages ---------------------------------------


def chat(ask: Ask) -> Any:
    common = {
        "model": ask.get("model", "m"),
        "api_key": ask["key"],
        "max_retries": ask.get("retries", 0),
        "timeout": 30.0,
    }
    match ask.get("provider", "openai"):
        case "anthropic":
            return ChatAnthropic(base_url=ask["url"], max_tokens=99, **common)
        case "responses":
            return ChatOpenAI(base_url=f"{ask['url']}/v1", use_responses_api=True, **common)
        case _:
            return ChatOpenAI(base_url=f"{ask['url']}/v1", **common)


def langchain_invoke(ask: Ask) -> Any:
    answer = chat(ask).invoke(ask["prompt"])
    return {"text": answer.text, "tokens": answer.usage_metadata["output_tokens"]}


async def langchain_async(ask: Ask) -> Any:
    return {"text": (await chat(ask).ainvoke(ask["prompt"])).text}


def langchain_stream(ask: Ask) -> Any:
    whole: Any = None
    for chunk in chat(ask).stream(ask["prompt"]):
        whole = chunk if whole is None else whole + chunk
    return {"text": whole.text}


def langchain_tools(ask: Ask) -> Any:
    model = chat(ask).bind_tools(ask["tools"])
    first = model.invoke(ask["prompt"])
    [made] = first.tool_calls
    second = model.invoke([HumanMessage(ask["prompt"]), first, ToolMessage("sunny", tool_call_id=made["id"])])
    whole: Any = None
    for chunk in model.stream(ask["prompt"]):
        whole = chunk if whole is None else whole + chunk
    return {
        "name": made["name"],
        "arguments": made["args"],
        "streamed": whole.tool_calls[0]["args"],
        "text": second.text,
    }


def langchain_structured(ask: Ask) -> Any:
    answers = {}
    for method in ask["methods"]:
        made = chat(ask).with_structured_output(Weather, method=method).invoke(ask["prompt"])
        answers[method] = made.model_dump()
    return answers


def langchain_embeddings(ask: Ask) -> Any:
    common = {"model": "m", "base_url": f"{ask['url']}/v1", "api_key": ask["key"]}
    # It sends the numbers of tokens, by a tokenizer it fetches, unless told that the endpoint wants text.
    made = OpenAIEmbeddings(check_embedding_ctx_length=False, **common)
    return {
        "lengths": [len(one) for one in made.embed_documents(["one", "two"])],
        "query": len(made.embed_query("one")),
    }


# ---- the lines -------------------------------------------------------------------------------------------------------


def describe(error: BaseException) -> dict[str, Any]:
    """How an error looks to whoever catches it."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    return {
        "class": type(error).__name__,
        "message": str(error),
        "status": getattr(error, "status_code", None),
        "retryAfter": headers.get("retry-after"),
    }


def answer(ask: Ask) -> dict[str, Any]:
    family, _, name = ask["case"].partition(".")
    run = globals()[f"{family}_{name}"]
    try:
        made = asyncio.run(run(ask)) if asyncio.iscoroutinefunction(run) else run(ask)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test is about
        return {"error": describe(error)}
    return {"ok": made}


def main() -> None:
    lines, sys.stdout = sys.stdout, sys.stderr  # what the clients print is not for the one who reads our lines
    for line in sys.stdin:
        lines.write(json.dumps(answer(json.loads(line))) + "\n")
        lines.flush()


if __name__ == "__main__":
    main()
