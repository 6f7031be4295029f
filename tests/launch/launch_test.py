#!/usr/bin/env python3
"""What scripts/launch and scripts/rank start, with a program that says what it was given.

  tests/launch/launch_test.py
"""

import itertools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = """#!/bin/bash
echo "rank ${OMPI_COMM_WORLD_RANK:-${RANK:--}} gpu ${CUDA_VISIBLE_DEVICES:--}" \\
  "card ${NCCL_IB_HCA:--} threads ${OMP_NUM_THREADS:--}: $*"
count=$(cat FOLDER/starts 2>/dev/null || echo 0)
echo $((count + 1)) >FOLDER/starts
if [ "$count" -lt "${FAILURES:-0}" ]; then exit "${CODE:-3}"; fi
if [ -n "${SLOW:-}" ]; then
  sleep 30 >/dev/null &
  trap 'sleep 2; echo saved; kill $! 2>/dev/null; exit 0' TERM USR1
  touch FOLDER/begun.${OMPI_COMM_WORLD_RANK:-0}
  wait
fi
"""


class LaunchTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="wyvern_launch_"))
        self.addCleanup(shutil.rmtree, self.folder)
        program = self.folder / "program"
        program.write_text(PROGRAM.replace("FOLDER", str(self.folder)))
        program.chmod(0o755)
        self.config = str(self.folder / "run.yaml")
        pathlib.Path(self.config).write_text("run: {name: x}\n")
        # No GPU, whatever this machine has.
        (self.folder / "system").mkdir()
        drop = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "OMP_", "OPENBLAS_", "CUDA_", "SLURM", "NCCL_", "WYVERN_")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(drop)}
        self.env.update(WYVERN=str(program), WYVERN_SYSTEM=str(self.folder / "system"))

    def launch(self, *arguments, **env):
        return subprocess.run([ROOT / "scripts/launch", *arguments], text=True, timeout=60,
                              env=dict(self.env, **env), capture_output=True)

    def check(self, result, code, *parts):
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        for part in parts:
            self.assertIn(part, result.stdout + result.stderr)

    def starts(self):
        return int((self.folder / "starts").read_text())

    @unittest.skipUnless(shutil.which("mpirun"), "mpirun is not installed")
    def test_mpirun_starts_every_rank_with_its_arguments(self):
        result = self.launch("-n", "2", self.config, "--set", "a=b c", OMP_NUM_THREADS="1")
        self.check(result, 0, f"rank 0 gpu - card - threads 1: train {self.config} --set a=b c",
                   f"rank 1 gpu - card - threads 1: train {self.config} --set a=b c")

    def test_a_program_that_is_not_built_is_named(self):
        for missing in ("nowhere/bin/wyvern", "system"):  # no such folder; a folder
            result = self.launch("-n", "1", self.config, WYVERN=str(self.folder / missing))
            self.check(result, 2, f"scripts/launch: {self.folder / missing} is not there; build it with scripts/setup")
            self.assertNotIn("realpath", result.stderr)

    @unittest.skipUnless(shutil.which("mpirun"), "mpirun is not installed")
    def test_all_ranks_get_one_secret_which_no_list_of_processes_shows(self):
        # In the place of ssh: keeps the words that another host's list of processes would show.
        ssh = self.folder / "ssh"
        ssh.write_text('#!/bin/bash\necho "$*" >>FOLDER/ssh_words\nwhile [[ "$1" == -* ]]; do shift; done\n'
                       'shift\nexec bash -c "$*"\n'.replace("FOLDER", str(self.folder)))
        ssh.chmod(0o755)
        program = self.folder / "program"
        program.write_text("#!/bin/bash\n"
                           'echo "token $WYVERN_RUN_TOKEN terminal $WYVERN_TERMINAL"\n'
                           "for list in /proc/[0-9]*/cmdline; do\n"
                           '  grep -aq "$WYVERN_RUN_TOKEN" "$list" 2>/dev/null && echo "seen: $list"\n'
                           "done\nexit 0\n")
        agent = dict(OMPI_MCA_plm_rsh_agent=str(ssh), PRTE_MCA_plm_ssh_agent=str(ssh))
        tokens = set()
        for given in ({}, {"WYVERN_RUN_TOKEN": "0123456789abcdef0123"}):
            result = self.launch("-n", "2", "--hosts", "localhost:1,otherhost:1", self.config, **agent,
                                 **given)
            self.check(result, 0)
            found = re.findall(r"token (\w+) terminal 0$", result.stdout, re.M)
            self.assertEqual(len(found), 2, result.stdout)
            self.assertEqual(len(set(found)), 1, result.stdout)
            tokens.update(found)
            self.assertNotIn("seen:", result.stdout)
        self.assertIn("0123456789abcdef0123", tokens)
        self.assertEqual(sorted(map(len, tokens)), [20, 64])
        words = (self.folder / "ssh_words").read_text()
        self.assertIn("otherhost", words)
        for token in tokens:
            self.assertNotIn(token, words)

    def test_the_preflight_is_started_like_a_training(self):
        self.check(self.launch("-n", "1", "--preflight", self.config, "--set", "a=b"), 0,
                   f": preflight {self.config} --set a=b")
        self.check(self.launch("--slurm", "--preflight", "--dry-run", self.config), 0,
                   f"{self.folder}/program preflight {self.config}")

    def test_the_command_is_printed_and_not_run(self):
        result = self.launch("-n", "8", "--hosts", "a:4,b:4", "--dry-run", self.config)
        if shutil.which("mpirun"):
            self.check(result, 0, "mpirun -n 8 --bind-to none --host a:4\\,b:4", "scripts/rank")
        self.assertFalse((self.folder / "starts").exists())

    def test_restarts_after_failures_only(self):
        self.check(self.launch("-n", "1", "--restarts", "2", self.config, FAILURES="2"), 0,
                   "exit code 3; start 2 of 2 more, from its newest checkpoint")
        self.assertEqual(self.starts(), 3)
        self.check(self.launch("-n", "1", "--restarts", "2", self.config), 0)
        self.assertEqual(self.starts(), 4)
        (self.folder / "starts").unlink()
        self.check(self.launch("-n", "1", "--restarts", "1", self.config, FAILURES="9"), 3)
        self.assertEqual(self.starts(), 2)
        # A configuration that is wrong stays so.
        (self.folder / "starts").unlink()
        self.check(self.launch("-n", "1", "--restarts", "2", self.config, FAILURES="9", CODE="2"), 2)
        self.assertEqual(self.starts(), 1)

    def test_a_signal_is_passed_on_and_nothing_is_started_again(self):
        # Saving takes a while, which mpirun must grant.
        signals = {signal.SIGTERM: 143, signal.SIGINT: 130}
        all_ranks = ["1", "2"] if shutil.which("mpirun") else ["1"]
        for ranks, (sent, code) in itertools.product(all_ranks, signals.items()):
            process = subprocess.Popen(
                [ROOT / "scripts/launch", "-n", ranks, "--restarts", "5", self.config], text=True,
                stdout=subprocess.PIPE, env=dict(self.env, SLOW="1"))
            begun = [self.folder / f"begun.{rank}" for rank in range(int(ranks))]
            while not all(path.exists() for path in begun):
                self.assertIsNone(process.poll())
            process.send_signal(sent)
            self.assertEqual(process.communicate(timeout=30)[0].count("saved"), int(ranks))
            self.assertEqual(process.returncode, code)
            for path in begun:
                path.unlink()
            self.assertLessEqual(self.starts(), int(ranks))
            (self.folder / "starts").unlink()

    def test_a_platform_that_sets_the_ranks(self):
        env = dict(RANK="1", WORLD_SIZE="2", LOCAL_RANK="1", MASTER_ADDR="h", MASTER_PORT="1")
        self.check(self.launch(self.config, **env), 0, f"rank 1 gpu - card - threads -: train")
        self.check(self.launch("-n", "2", self.config, **env), 2, "the platform starts the ranks")
        del env["MASTER_ADDR"]
        self.check(self.launch(self.config, **env), 2, "but MASTER_ADDR is not set")

    def test_wrong_use(self):
        self.check(self.launch("-n", "2"), 2, "no configuration given")
        self.check(self.launch("-n", "x", self.config), 2, "expected a number, got 'x'")
        self.check(self.launch(self.config), 2, "give -n")
        self.check(self.launch("-n", "1", "nowhere.yaml"), 2, "nowhere.yaml: no such file")
        self.check(self.launch("--wide", self.config), 2, "unknown option --wide")
        self.check(self.launch("-n", "2", "--nodes", "2", self.config), 2, "no effect without")
        self.check(self.launch("-n", "2", self.config, WYVERN="/nowhere"), 2, "is not there")
        self.check(self.launch("--help"), 0, "scripts/launch -n 8")

    def test_the_sbatch_script(self):
        result = self.launch("--slurm", "--nodes", "4", "-n", "8", "--time", "1:00:00", "--sbatch",
                             "--constraint=h100", "--restarts", "3", "--dry-run", self.config)
        self.check(result, 0, "#SBATCH --nodes=4\n", "#SBATCH --ntasks-per-node=8\n",
                   "#SBATCH --gpus-per-node=8\n", "#SBATCH --time=1:00:00\n", "restarts=3\n",
                   "#SBATCH --constraint=h100\n", "#SBATCH --requeue\n")
        self.assertEqual(subprocess.run(["bash", "-n"], input=result.stdout, text=True).returncode, 0)

    def test_names_in_the_sbatch_script(self):
        def script(*arguments):
            return self.launch("--slurm", "--dry-run", *arguments)
        config = self.folder / "my run.yaml"
        config.write_text("run: {name: x}\n")
        self.check(script(str(config)), 0, '#SBATCH --job-name="my run"\n',
                   '#SBATCH --output="runs/slurm_my run_%j.txt"\n', f"{self.folder}/my\\ run.yaml)")
        self.check(script("--name", '50% "x" #1', "--account", "a b", self.config), 0,
                   '#SBATCH --job-name="50% \\"x\\" #1"\n', '#SBATCH --account="a b"\n',
                   '#SBATCH --output="runs/slurm_50%% \\"x\\" #1_%j.txt"\n')
        self.check(script("--output", "logs/%j of $x.txt", self.config), 0,
                   '#SBATCH --output="logs/%j of $x.txt"\n')
        for option in ("--name", "--output", "--account", "--time", "--sbatch"):
            self.check(script(option, "a\nb", self.config), 2, option)
        self.check(script("--name", "a\\b", self.config), 2, "no backslash in a file name")
        # The secret is made when the job starts.
        self.assertNotRegex(script(self.config).stdout, "WYVERN_RUN_TOKEN=\"?[0-9a-f]{8}")

    def make_host(self):
        """Two sockets, each with two GPUs and two cards behind switches."""
        system = self.folder / "system"
        gpus = ["0000:18:00.0", "0000:2a:00.0", "0000:9a:00.0", "0000:ba:00.0"]
        for i, gpu in enumerate(gpus):
            (system / "proc/driver/nvidia/gpus" / gpu).mkdir(parents=True)
            (system / "proc/driver/nvidia/gpus" / gpu / "information").write_text(
                f"Model: \t NVIDIA H100\nDevice Minor: \t {7 - i}\n")
            (system / "dev").mkdir(exist_ok=True)
            (system / "dev" / f"nvidia{7 - i}").touch()
            device = system / f"sys/devices/pci{i // 2}/switch{i}/{gpu}"
            device.mkdir(parents=True)
            (device / "numa_node").write_text(f"{i // 2}\n")
            (system / "sys/bus/pci/devices").mkdir(parents=True, exist_ok=True)
            (system / "sys/bus/pci/devices" / gpu).symlink_to(device)
            # The cards' names run against the order of the GPUs.
            card = system / f"sys/devices/pci{i // 2}/switch{i}/card"
            card.mkdir()
            name = system / f"sys/class/infiniband/mlx5_{3 - i}"
            name.mkdir(parents=True)
            (name / "device").symlink_to(card)

    def test_a_rank_gets_the_gpu_of_its_number_and_the_card_next_to_it(self):
        self.make_host()
        for i in range(4):
            self.check(self.launch(self.config, WORLD_SIZE="1", LOCAL_RANK=str(i),
                                   WYVERN_BIND="print"), 0,
                       f"gpu {i} card =mlx5_{3 - i} ", f"GPU {i}, network card mlx5_{3 - i}")
        self.check(self.launch(self.config, WORLD_SIZE="1", LOCAL_RANK="1",
                               CUDA_VISIBLE_DEVICES="3,2"), 0, "gpu 2 card =mlx5_1 ")
        self.check(self.launch(self.config, WORLD_SIZE="1", LOCAL_RANK="2",
                               CUDA_VISIBLE_DEVICES="1"), 0, "gpu 1 card =mlx5_2 ")
        self.check(self.launch(self.config, WORLD_SIZE="1", LOCAL_RANK="4"), 1,
                   "but there are 4 GPUs")
        # A container with the last two GPUs of the machine.
        for minor in ["7", "6"]:
            (self.folder / "system/dev" / f"nvidia{minor}").unlink()
        self.check(self.launch(self.config, WORLD_SIZE="1", LOCAL_RANK="1"), 0,
                   "gpu 1 card =mlx5_0 ")
        self.check(self.launch(self.config, WORLD_SIZE="1", LOCAL_RANK="2"), 1,
                   "but there are 2 GPUs")
        self.check(self.launch("--no-bind", self.config, WORLD_SIZE="1", LOCAL_RANK="1"), 0,
                   "gpu - card - ")
        self.check(self.launch(self.config, WORLD_SIZE="1", LOCAL_RANK="1", NCCL_IB_HCA="mine"), 0,
                   "gpu 1 card mine ")


if __name__ == "__main__":
    unittest.main(verbosity=2)  # names what it skips
