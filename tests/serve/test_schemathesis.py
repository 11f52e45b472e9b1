"""Hundreds of requests that a machine makes up from the OpenAPI description, well-formed and not: never a 500."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from support.running_server import running_server

from moon2.serve.settings import Limits


def _ask_all(index: Path, examples: int) -> int:
    """How many requests were made."""
    asked = 0
    with running_server(index, limits=Limits(seconds=10)) as server:
        schema = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
        modes = list(schemathesis.GenerationMode)
        operations = [operation.ok() for operation in schema.get_all_operations()]
        for operation in operations:
            cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=cases)
            def ask(case: schemathesis.Case) -> None:
                nonlocal asked
                asked += 1
                case.call_and_validate(checks=[not_a_server_error])

            ask()
        assert server.ask("/v1/search", text="shirt", limit=1)["hits"]
        assert server.get("/readyz") == {"status": "ready"}
    return asked


@pytest.mark.long
def test_no_request_that_can_be_made_up_is_a_fault_of_the_server(own_index: Path) -> None:
    assert _ask_all(own_index, examples=40) > 300
