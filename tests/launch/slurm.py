"""A Slurm cluster of its own: munge, a controller and nodes on loopback, in a folder that is given."""

import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import time

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "sinfo"]


def missing_programs():
    """Programs that are not installed; Debian's packages slurmctld, slurmd, slurm-client, munge."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    """Nodes node1 ... nodeN, each with `cpus` processors, whatever the machine has."""

    def __init__(self, folder, nodes=2, cpus=2):
        self.folder = pathlib.Path(folder)
        self.names = [f"node{i + 1}" for i in range(nodes)]
        self.processes = {}
        self.env = dict(os.environ, SLURM_CONF=str(self.folder / "slurm.conf"))
        self.env["PATH"] += ":/usr/sbin:/sbin"
        user = subprocess.check_output(["id", "-un"], text=True).strip()
        self.munge = str(self.folder / "munge.socket")
        (self.folder / "state").mkdir()
        lines = [
            "ClusterName=wyverntest",
            f"SlurmctldHost={socket.gethostname()}(127.0.0.1)",
            f"SlurmUser={user}",
            f"SlurmdUser={user}",
            f"SlurmctldPort={free_port()}",
            # A requeued job waits until its old credentials have run out.
            f"AuthInfo=socket={self.munge},cred_expire=5",
            f"StateSaveLocation={self.folder}/state",
            f"SlurmdSpoolDir={self.folder}/spool.%n",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/slurmd.%n.pid",
            f"SlurmctldLogFile={self.folder}/slurmctld.log",
            f"SlurmdLogFile={self.folder}/slurmd.%n.log",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "MpiDefault=none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core",
            "SlurmdParameters=config_overrides",
            "JobAcctGatherType=jobacct_gather/none",
            "SchedulerParameters=sched_interval=1,batch_sched_delay=0,requeue_delay=0",
            "SlurmdTimeout=5",
            "KillWait=2",
            "JobRequeue=1",
            "ReturnToService=2",
        ]
        for name in self.names:
            lines.append(f"NodeName={name} NodeHostname={socket.gethostname()} "
                         f"NodeAddr=127.0.0.1 Port={free_port()} CPUs={cpus} State=UNKNOWN")
        lines.append(f"PartitionName=all Nodes=node[1-{nodes}] Default=YES MaxTime=INFINITE")
        (self.folder / "slurm.conf").write_text("\n".join(lines) + "\n")

    def start(self):
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        self._spawn("munged", ["munged", "--foreground", "--force", f"--socket={self.munge}",
                               f"--key-file={key}", f"--pid-file={self.folder}/munged.pid",
                               f"--log-file={self.folder}/munged.log",
                               f"--seed-file={self.folder}/munge.seed"])
        self.wait_until(lambda: os.path.exists(self.munge), 10, "munged did not start")
        self._spawn("slurmctld", ["slurmctld", "-D", "-i"])
        for name in self.names:
            self.start_node(name)
        self.wait_until(lambda: self.run("sinfo", "-h", "-o", "%T").stdout.split() == ["idle"], 30,
                   "the nodes are not idle")

    def start_node(self, name):
        # A process namespace of its own: when its first process is killed, so are all others, as
        # when a machine fails.
        self._spawn(name, ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
                           "slurmd", "-D", "-N", name])

    def kill_node(self, name):
        self.processes[name].kill()
        self.processes[name].wait()

    def run(self, *command):
        return subprocess.run(command, env=self.env, text=True, capture_output=True, timeout=60)

    def job_state(self, job):
        fields = self.run("scontrol", "show", "job", "-o", str(job)).stdout.split()
        return dict(field.split("=", 1) for field in fields if "=" in field)

    def wait_job(self, job, states, seconds):
        """Until the job is in one of the states; its fields."""
        self.wait_until(lambda: self.job_state(job).get("JobState") in states, seconds,
                   lambda: f"job {job} is not in {states} but {self.job_state(job)}")
        return self.job_state(job)

    def stop(self):
        for name in [*self.names, "slurmctld", "munged"]:
            process = self.processes.get(name)
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGKILL if name in self.names else signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()

    def logs(self):
        """The ends of all logs, for a message."""
        text = ""
        for path in sorted(self.folder.glob("*.log")):
            text += f"== {path.name}\n" + "".join(path.open().readlines()[-25:])
        return text

    def _spawn(self, name, command):
        out = (self.folder / f"{name}.out.log").open("a")
        self.processes[name] = subprocess.Popen(command, env=self.env, stdout=out, stderr=out)

    def wait_until(self, condition, seconds, message):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(message() if callable(message) else message)
            time.sleep(0.2)
