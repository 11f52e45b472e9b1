"""`moon2 serve`."""

from __future__ import annotations

import gc
import logging
import socket
from pathlib import Path

from moon2.serve.settings import LIMITS, Limits, ServeError, ServeSettings

logger = logging.getLogger(__name__)


def serve(
    source: str,
    *,
    beside: str | None = None,
    model: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_keys: Path | None = None,
    query_cache: int = 10_000,
    log_queries: bool = False,
    limits: Limits = LIMITS,
) -> None:
    """Serve search and embeddings over HTTP.

    Clients of OpenAI's, vLLM's and Cohere's embeddings work as they are. A run, or any encoder, in the place of an
    index serves embeddings alone. What the API offers is described at /docs. It ends with Ctrl-C, after the
    requests that are under way.

    examples:
      moon2 serve indexes/shop
      moon2 serve indexes/shop --beside indexes/shop-new --port 8080
      moon2 serve runs/shop

    Args:
        source: folder or address of an index; or of a run, for embeddings alone
        beside: a second index, to compare with
        model: where the encoder is now, if it moved
        host: address to listen at; 0.0.0.0 for all of this machine's, which wants --api_keys
        port: to listen at; 0 for a free one
        api_keys: file with a key a line, one of which a request must bring; MOON2_API_KEYS does the same
        query_cache: how many queries' vectors are kept; 0 for none
        log_queries: write shoppers' words into the log
        limits: of a request

    Raises:
        ServeError: the port is taken, or a package is missing
        ProductIndexError: there is no such index
        EncoderError: the encoder cannot be loaded
    """
    try:
        import uvicorn

        from moon2.serve.app import create_app
        from moon2.serve.logs import log_as_json
        from moon2.serve.security import LOOPBACK
    except ImportError as error:
        raise ServeError(f"the package {error.name} is missing; pip install 'moon2[serve]'") from None
    with listen(host, port) as listening:
        app = create_app(ServeSettings(source, beside, model, host, port, api_keys, query_cache, log_queries, limits))
        log_as_json()
        # What is loaded stays: a collector that looks through it all, again and again, stops every request meanwhile.
        gc.collect()
        gc.freeze()
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=limits.seconds,
            limit_concurrency=1000,
        )
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listening.getsockname()[1]}"
        logger.info("serving %s at %s; its API: %s/docs", source, address, address)
        if host not in LOOPBACK and not app.state.moon2.has_keys:
            logger.warning("whoever reaches %s:%d may search, write and delete; give --api_keys", host, port)
        uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that connections come in at.

    Raises:
        ServeError: the port is taken, or the address is not this machine's.
    """
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise ServeError(f"{host}:{port} cannot be listened at ({error}); choose another --port or --host") from None
    # Connections inherit it. Without it the end of an answer waits 40 ms for a client's acknowledgement of its head,
    # as asyncio sets it only on sockets that it has opened itself.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
