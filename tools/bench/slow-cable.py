"""A cable between two network namespaces that holds every packet back: a rate, then a delay, each way.

    python3 slow-cable.py NAMESPACE_A 10.231.8.1 NAMESPACE_B 10.231.8.2 DELAY_MS MEGABITS

What `tc netem delay … rate …` does in the kernel, where the kernel has it; this needs TUN devices alone. Says "ready" and
carries until it is ended. Needs root.
"""

import collections
import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
DEVICE = b"slow0"
MTU = 1500
# Packets beyond it are dropped, as a router's queue drops them: four times what is on a cable of 100 ms and 100 Mbit/s.
MOST_QUEUED_BYTES = 5_000_000
LIBC = ctypes.CDLL(None, use_errno=True)


def open_device(namespace, address):
    """The end of the cable in a namespace, as a file of packets."""
    with open(f"/var/run/netns/{namespace}") as own:
        if LIBC.setns(own.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", DEVICE, IFF_TUN | IFF_NO_PI))
    name = DEVICE.decode()
    for words in (["addr", "add", f"{address}/24", "dev", name], ["link", "set", name, "mtu", str(MTU), "txqueuelen", "5000", "up"]):
        subprocess.run(["ip", *words], check=True)
    return device


class Direction:
    """Packets on their way from one end to the other."""

    def __init__(self, source, target, delay, bytes_per_second):
        self.source, self.target = source, target
        self.delay, self.bytes_per_second = delay, bytes_per_second
        self.packets = collections.deque()
        self.free_at = 0.0  # when the sender's end has sent all it was given

    def take(self, now):
        """Takes what waits at the source."""
        for _ in range(64):
            try:
                packet = os.read(self.source, MTU + 64)
            except BlockingIOError:
                return
            backlog = max(0.0, self.free_at - now) * self.bytes_per_second
            if backlog > MOST_QUEUED_BYTES:
                continue
            self.free_at = max(now, self.free_at) + len(packet) / self.bytes_per_second
            self.packets.append((self.free_at + self.delay, packet))

    def deliver(self, now):
        """Gives out what is due. Returns when the next is, if there is one."""
        while self.packets and self.packets[0][0] <= now:
            try:
                os.write(self.target, self.packets[0][1])
            except BlockingIOError:
                return now + 0.001
            except OSError:
                pass  # the other end is down
            self.packets.popleft()
        return self.packets[0][0] if self.packets else None


def main():
    first, first_address, second, second_address, delay_ms, megabits = sys.argv[1:]
    ends = [open_device(first, first_address), open_device(second, second_address)]
    rate = float(megabits) * 1e6 / 8
    ways = [Direction(a, b, float(delay_ms) / 1000, rate) for a, b in (ends, ends[::-1])]
    print("ready", flush=True)
    parent = os.getppid()
    wait = 0.5
    while os.getppid() == parent:
        select.select(ends, [], [], wait)
        now = time.monotonic()
        for way in ways:
            way.take(now)
        due = [at for at in (way.deliver(now) for way in ways) if at is not None]
        wait = min(0.5, max(0.0, min(due, default=now + 0.5) - time.monotonic()))


main()
