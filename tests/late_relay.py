"""A way to a TCP server on which every answer is late.

usage: late_relay.py PORT MILLISECONDS

Prints the port of 127.0.0.1 where it listens, and goes on until its stdin ends. What a client sends
is passed on to PORT of 127.0.0.1 at once; what comes back arrives that much later.
"""

import asyncio
import contextlib
import sys

PORT, LATE = int(sys.argv[1]), int(sys.argv[2]) / 1000


async def pass_on(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def pass_on_late(reader, writer):
    """In order, each piece that much after it came."""
    clock = asyncio.get_running_loop().time
    pieces = asyncio.Queue()

    async def take():
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                pieces.put_nowait((clock() + LATE, data))
        pieces.put_nowait((clock() + LATE, b""))

    taking = asyncio.create_task(take())
    with contextlib.suppress(OSError):
        while True:
            due, data = await pieces.get()
            await asyncio.sleep(due - clock())
            if not data:
                break
            writer.write(data)
            await writer.drain()
    writer.close()
    await taking


async def relay(reader, writer):
    from_server, to_server = await asyncio.open_connection("127.0.0.1", PORT)
    await asyncio.gather(pass_on(reader, to_server), pass_on_late(from_server, writer))


async def main():
    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
