"""The HTTP face: which route is what."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmops_serve import chat, tgi
from llmops_serve.wire import HANDLED, on_error


async def openapi(request: Request) -> Response:
    """GET /openapi.json; its description of every route is made when it is asked for."""
    from llmops_serve.openapi import show_openapi

    return await show_openapi(request)


POST = {
    "/": tgi.compat_generate,
    "/generate": tgi.generate,
    "/generate_stream": tgi.generate_stream,
    "/invocations": tgi.invocations,
    "/tokenize": tgi.tokenize,
    "/chat_tokenize": tgi.chat_tokenize,
    "/v1/chat/completions": chat.chat_completions,
    "/v1/completions": chat.completions,
}
GET = {
    "/info": tgi.show_info,
    "/health": tgi.health,
    "/ping": tgi.health,
    "/metrics": tgi.show_metrics,
    "/v1/models": chat.models,
    "/openapi.json": openapi,
}


def make_app(max_payload_bytes: int, max_concurrent_requests: int) -> Starlette:
    """The routes; `front` says which gateway answers a request."""
    routes = [Route(path, handler, methods=["POST"]) for path, handler in POST.items()]
    routes += [Route(path, handler, methods=["GET"]) for path, handler in GET.items()]
    app = Starlette(routes=routes, exception_handlers=dict.fromkeys(HANDLED, on_error))
    app.state.max_payload_bytes = max_payload_bytes
    app.state.max_concurrent_requests = max_concurrent_requests
    return app
