#!/usr/bin/env python3
"""How ranks of two hosts meet: the hosts are network namespaces of the test's own, joined by a cable of their
own, and all traffic stays there.

  tests/launch/network_test.py PATH_OF_WYVERN

Exit code 77: skipped, with the reason.
"""

import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

from tiny_run import SKIPPED, check, write_config, write_text

TOKEN = "0123456789abcdef0123456789abcdef"
SECONDS = 10  # that four ranks of a busy machine may take to meet and to measure the network
LOCALHOST = "127.0.0.1 localhost\n"


def run(*command):
    return subprocess.run(command, text=True, capture_output=True, timeout=60)


class Hosts:
    """Two hosts, a and b: 10.78.0.1 and 10.78.0.2, fd78::1 and fd78::2."""

    def __init__(self, folder, wyvern, config):
        self.folder, self.wyvern, self.config = folder, wyvern, config
        self.names = [f"wyv{os.getpid()}{host}" for host in "ab"]
        self.port = 20000 + random.randrange(10000)

    def __enter__(self):
        a, b = self.names
        for command in [
                f"ip netns add {a}", f"ip netns add {b}",
                f"ip -n {a} link add cable type veth peer name cable netns {b}",
                *(f"ip -n {name} addr add 10.78.0.{i + 1}/24 dev cable"
                  for i, name in enumerate(self.names)),
                *(f"ip -n {name} addr add fd78::{i + 1}/64 dev cable nodad"
                  for i, name in enumerate(self.names)),
                *(f"ip -n {name} link set {link} up" for name in self.names
                  for link in ("lo", "cable"))]:
            result = run(*command.split())
            if result.returncode != 0:
                self.__exit__()
                raise PermissionError(f"{command}: {result.stderr.strip()}")
        return self

    def __exit__(self, *_):
        for name in self.names:
            run("ip", "netns", "del", name)

    def link_local(self, host):
        """The address of fe80::/10, which the system gives a while after the link is up."""
        for _ in range(100):
            found = re.search(r"inet6 (fe80\S+)/64 scope link (?!tentative)",
                              run("ip", "-n", self.names[host], "addr", "show", "cable").stdout)
            if found:
                return found[1]
            time.sleep(0.1)
        raise TimeoutError("no link-local address")

    def start(self, host, rank, size, master, hosts=LOCALHOST, **env):
        """One rank of `wyvern preflight`, which meets the others, measures, and ends."""
        table = self.folder / f"hosts.{host}"
        table.write_text(hosts)
        command = ["ip", "netns", "exec", self.names[host], "unshare", "--mount", "--uts", "bash", "-c",
                   f'mount --bind {table} /etc/hosts && hostname node{"ab"[host]} && exec "$@"', "-",
                   "timeout", "60", self.wyvern, "preflight", self.config, "--set",
                   f"parallel.timeout={SECONDS}", "train.batch_tokens=512"]
        drop = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "OMPI_", "WYVERN_")
        env = dict({k: v for k, v in os.environ.items() if not k.startswith(drop)},
                   OMP_NUM_THREADS="1", RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR=master,
                   MASTER_PORT=str(self.port), **env)
        return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)

    def meet(self, master, hosts=(LOCALHOST, LOCALHOST), size=4, **env):
        """The first half of the ranks on a; the outputs of all."""
        self.port += 1
        masters = (master, master) if isinstance(master, str) else master
        ranks = [self.start(host, rank, size, masters[host], hosts[host], **env)
                 for rank, host in enumerate(rank * 2 // size for rank in range(size))]
        outputs = [process.communicate()[0] for process in ranks]
        for rank, process in enumerate(ranks):
            check(process.returncode == 0, f"rank {rank} at {master}: " + "\n".join(outputs))
        return outputs

    def listeners(self, host):
        return set(re.findall(r"LISTEN\s+\d+\s+\d+\s+(\S+):\d+",
                              run("ip", "netns", "exec", self.names[host], "ss", "-Hltn").stdout))


def names_and_addresses(hosts):
    # As installers of Debian and Ubuntu write it: a host's own name is 127.0.1.1.
    hosts.meet("nodea", (LOCALHOST + "127.0.1.1 nodea\n10.78.0.2 nodeb\n",
                         LOCALHOST + "10.78.0.1 nodea\n127.0.1.1 nodeb\n"))
    # As some platforms set it on rank 0's host.
    hosts.meet(("localhost", "10.78.0.1"))
    hosts.meet(("127.0.0.1", "10.78.0.1"), LOCAL_WORLD_SIZE="2")
    print("a name that is loopback on rank 0's host")
    # A dead address before the right one, and after it.
    for table in ("10.78.0.3 nodea\n10.78.0.1 nodea\n", "10.78.0.1 nodea\n10.78.0.3 nodea\n"):
        hosts.meet("nodea", (LOCALHOST + "10.78.0.1 nodea\n", LOCALHOST + table))
    # Only of IPv6 on one side, of IPv4 on the other.
    hosts.meet("nodea", (LOCALHOST + "10.78.0.1 nodea\n", LOCALHOST + "fd78::1 nodea\n"), size=2)
    print("a name with several addresses")
    for address in ("10.78.0.1", "fd78::1", "[fd78::1]"):
        hosts.meet(address)
    hosts.meet(hosts.link_local(0) + "%cable")
    print("IPv4, IPv6 and link-local addresses")


def token(hosts):
    for env, warns in (({}, True), ({"WYVERN_RUN_TOKEN": TOKEN}, False)):
        first, *others = hosts.meet("10.78.0.1", size=2, **env)
        check(first.count("WYVERN_RUN_TOKEN is not set") == warns, first)
        check("WYVERN_RUN_TOKEN" not in "".join(others), str(others))
    print("several hosts without a token: a warning")
    hosts.port += 1
    first = hosts.start(0, 0, 2, "10.78.0.1", WYVERN_RUN_TOKEN=TOKEN)
    for wrong in ({}, {"WYVERN_RUN_TOKEN": TOKEN[::-1]}):
        stranger = hosts.start(1, 1, 2, "10.78.0.1", **wrong)
        output = stranger.communicate()[0]
        check(stranger.returncode == 1 and "WYVERN_RUN_TOKEN" in output, output)
    right = hosts.start(1, 1, 2, "10.78.0.1", WYVERN_RUN_TOKEN=TOKEN)
    output = first.communicate()[0]
    check(first.returncode == 0 and right.wait() == 0, output)
    check(output.count("10.78.0.2: it has") == 2, output)
    print("who has not the token is turned away, and named")


def waiting(hosts):
    hosts.port += 1
    begin = time.monotonic()
    first = hosts.start(0, 0, 3, "10.78.0.1", WYVERN_RENDEZVOUS_TIMEOUT="6")
    second = hosts.start(1, 1, 3, "10.78.0.1", WYVERN_RENDEZVOUS_TIMEOUT="20")
    time.sleep(2)
    check(hosts.listeners(0) == {"10.78.0.1"}, str(hosts.listeners(0)))
    check(hosts.listeners(1) == {"10.78.0.2"}, str(hosts.listeners(1)))
    output, other = first.communicate()[0], second.communicate()[0]
    check(time.monotonic() - begin < 20 and first.returncode == 1, output)
    check("waits for rank 2 to come to 10.78.0.1" in output and "missing: rank 2" in output, output)
    check("which waits for rank 2" in other and "rank 2" in other.splitlines()[-1], other)
    print("who is missing is said, and where a port is open")


def main():
    wyvern = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="wyvern_network_") as name:
        folder = pathlib.Path(name)
        write_text(folder)
        config = write_config(folder, "meet", 6, "")
        try:
            with Hosts(folder, wyvern, config) as hosts:
                names_and_addresses(hosts)
                token(hosts)
                waiting(hosts)
        except (PermissionError, FileNotFoundError) as error:
            print(f"skipped: no right, or no ip (Debian: iproute2), to make network namespaces ({error})")
            return SKIPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
