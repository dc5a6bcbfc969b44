#!/usr/bin/env python3
"""TCP proxy that is as slow and as unreliable as a test wants it to be.

    tcp_proxy.py PORT TARGET_PORT

Listens on 127.0.0.1:PORT and prints "ready".  Reads commands from standard
input, one a line, answers each with "ok", and ends with its input:

    rate N    from now on N bytes a second to each client (0: no limit)
    cut N     close the open connections; then each new one after N bytes to the
              client, in the middle of an answer or not; N doubles each time
    pass      no limit and no cut any more

Only what goes to the client is limited.
"""
import asyncio
import sys

rate = 0            # bytes a second, 0: no limit
cut = None          # bytes until the next connection is closed
writers = set()     # of open connections, to their clients


async def forward(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def answer(reader, writer, left):
    """Forward to the client, in steps of a twentieth of a second."""
    while left is None or left > 0:
        data = await reader.read(max(rate // 20, 1) if rate else 65536)
        if not data:
            return
        if left is not None:
            data = data[:left]
            left -= len(data)
        writer.write(data)
        await writer.drain()
        if rate:
            await asyncio.sleep(0.05)


async def serve(reader, writer):
    global cut
    left = cut
    if cut is not None:
        cut *= 2
    writers.add(writer)
    try:
        there, back = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    except OSError:
        writers.discard(writer)
        writer.transport.abort()
        return
    tasks = [asyncio.ensure_future(forward(reader, back)),
             asyncio.ensure_future(answer(there, writer, left))]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    writers.discard(writer)
    back.transport.abort()
    writer.close()


def command(line):
    global rate, cut
    words = line.split()
    if words[0] == "rate":
        rate = int(words[1])
    elif words[0] == "cut":
        rate, cut = 0, int(words[1])
        for writer in list(writers):
            writer.transport.abort()
    elif words[0] == "pass":
        rate, cut = 0, None
    else:
        sys.exit(__doc__)


async def main():
    await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command(line)
        print("ok", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    asyncio.run(main())
