"""Bytes from anywhere are Wyoming events or a protocol error."""

import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from app.wire import LINE_BYTES, ProtocolError, read_event


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=100).map(lambda text: json.dumps({"type": text, "data_length": len(text)}).encode() + b"\n{}"))
def test_bytes_are_an_event_or_a_protocol_error(data: bytes) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader(limit=LINE_BYTES)
        reader.feed_data(data)
        reader.feed_eof()
        try:
            while (event := await read_event(reader)) is not None:
                assert isinstance(event.type, str)
                assert isinstance(event.data, dict)
        except ProtocolError:
            pass

    asyncio.run(main())
