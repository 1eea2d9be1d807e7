"""Starts a decoder, prints its process id, and sleeps: a parent to be killed."""

import asyncio
import time

import psutil

from imgedit.imaging.decode_pool import Decoders

decoders = Decoders(1, 10.0)
asyncio.run(decoders.start())
print(psutil.Process().children()[0].pid, flush=True)
time.sleep(600)
