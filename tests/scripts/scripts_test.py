#!/usr/bin/env python3
"""scripts/setup, train and test in a copy of the tree in which nothing is built: the programs that they
start are replaced by ones that write down how they were called."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Configures like CMake: a failure leaves a cache behind, and no build.ninja.
CMAKE = """#!/bin/bash
echo "cmake $*" >>"$CALLS"
case "$*" in
  *--preset*)
    line="$*"
    line="${line#*--preset }"
    build="build/${line%% *}"
    mkdir -p "$build"
    echo "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" >"$build/CMakeCache.txt"
    if [ -n "$FAILURE" ]; then echo "$FAILURE"; exit 1; fi
    touch "$build/build.ninja" ;;
esac
"""
# Its environments have a pip that fails with FAILURE.
PYTHON = """#!/bin/bash
case "$*" in
  --version) echo "Python 3.0" ;;
  "-m venv "*)
    echo "venv $3" >>"$CALLS"
    mkdir -p "$3/bin"
    cat >"$3/bin/pip" <<'PIP'
#!/bin/bash
echo "pip $*" >>"$CALLS"
if [ -n "$FAILURE" ]; then echo "$FAILURE"; exit 1; fi
PIP
    chmod +x "$3/bin/pip" ;;
  *) exec {python} "$@" ;;
esac
"""
# One test was skipped.
CTEST = """#!/bin/bash
echo "ctest $*" >>"$CALLS"
cat >build/cpu/tests.xml <<'XML'
<testsuite><testcase name="slurm" status="notrun"><system-out>skipped: no slurmctld
</system-out></testcase></testsuite>
XML
exit "${CTEST_CODE:-0}"
"""
WYVERN = '#!/bin/bash\necho "wyvern $*" >>"$CALLS"\n'


class ScriptsTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="wyvern_scripts_")
        self.addCleanup(temporary.cleanup)
        self.root = pathlib.Path(temporary.name)
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        shutil.copy(ROOT / "CMakePresets.json", self.root)
        for folder in ("tests/clients", "tests/faults"):
            shutil.copytree(ROOT / folder, self.root / folder)
        for name in ("skipped.py", "skips.txt", "slow.py", "labels.txt"):
            shutil.copy(ROOT / "tests" / name, self.root / "tests")
        (self.root / "configs").mkdir()
        (self.root / "configs/quickstart.yaml").write_text("")
        self.calls_file = self.root / "calls"
        self.calls_file.write_text("")
        self.program("bin/cmake", CMAKE)
        self.program("bin/dpkg-query", "#!/bin/bash\necho install ok installed\n")
        self.program("bin/ctest", CTEST)
        self.program("bin/python3", PYTHON.replace("{python}", sys.executable))
        for tool in ("g++", "ninja", "ccache", "pip3", "mpirun", "clang++"):
            self.program(f"bin/{tool}", "#!/bin/bash\n")
        self.program("bin/nvidia-smi", "#!/bin/bash\nexit 1\n")
        self.program("build/cpu/bin/wyvern", WYVERN)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("WYVERN_")}
        self.env.update(PATH=f"{self.root}/bin:/usr/bin:/bin", CALLS=str(self.calls_file), FAILURE="")

    def program(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run_script(self, name, *arguments, **env):
        path = self.root / (name if "/" in name else f"scripts/{name}")
        return subprocess.run([path, *arguments], text=True, timeout=60, env=dict(self.env, **env),
                              capture_output=True)

    def calls(self):
        """Since the last question."""
        calls = self.calls_file.read_text().splitlines()
        self.calls_file.write_text("")
        return calls

    def test_help_is_printed_and_nothing_is_built(self):
        for script in ("setup", "train", "test", "launch", "rank", "package", "tidy", "try_releases", "format", "sanitize",
                       "sanitize_host", "fuzz", "kill_points"):
            for option in ("--help", "-h"):
                result = self.run_script(script, option)
                self.assertEqual((result.returncode, result.stderr), (0, ""), script)
                self.assertIn(f"  scripts/{script} ", result.stdout)
                self.assertNotIn("set -euo", result.stdout)
        self.assertEqual(self.run_script("train", "configs/quickstart.yaml", "--help").returncode, 0)
        self.assertEqual(self.calls(), [])

    def test_what_is_not_understood_is_said_before_the_build(self):
        for arguments, message in (
                (("train", "--devcie", "cpu"), "unknown option --devcie"),
                (("train", "--set"), "--set needs key=value"),
                (("train", "--set", "a"), "--set needs key=value, got 'a'"),
                (("train", "--resume"), "--resume needs"),
                (("train", "configs/absent.yaml"), "configs/absent.yaml: no such file"),
                (("train", "configs/quickstart.yaml", "steps=3"), "unexpected argument 'steps=3'"),
                (("train", "--set", "a=b", "configs/x.yaml"), "configs/x.yaml: no such file"),
                (("test", "--filter", "x"), "unknown option --filter"),
                (("test", "-R"), "-R needs a value"),
                (("test", "cpu", "cuda"), "expected one preset, got 'cpu' and 'cuda'"),
                (("test", "release"), "unknown preset release; there are: cpu cuda "),
                (("setup", "--cuda"), "unknown option --cuda"),
                (("setup", "base"), "unknown preset base"),
                (("format", "--chekc"), "unknown argument --chekc"),
                (("sanitize", "--tool"), "unknown option --tool"),
                (("sanitize_host", "--fast"), "unknown option --fast"),
                (("kill_points", "--every"), "unrecognized arguments: --every"),
                (("kill_points", "--points", "few"), "--points: invalid int value: 'few'"),
                (("kill_points", "--only", "trian"), "unknown scenario trian; there are: prepare "),
                (("kill_points", "--at", "train:kill"), "expected SCENARIO:DO:N"),
                (("rank", "--cores"), "unknown option --cores"),
                (("rank",), "no command given"),
                (("tidy", "--all"), "unknown argument --all"),
                (("package", "--rpm"), "unknown argument --rpm"),
                (("try_releases", "--jobs"), "unknown option --jobs")):
            result = self.run_script(*arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertIn(message, result.stderr)
            self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertEqual(self.calls(), [])

    def test_a_training_gets_its_arguments(self):
        config = self.root / "configs/quickstart.yaml"
        result = self.run_script("train", "--set", "a=1", "b=-2", "--set", "c.d=x y", "--resume", "none")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.calls()[-1],
                         f"wyvern train {config} --set a=1 b=-2 --set c.d=x y --resume none")
        self.run_script("train", str(config))
        self.assertEqual(self.calls()[-1], f"wyvern train {config}")

    def test_a_configuration_that_failed_is_made_again(self):
        result = self.run_script("setup", "cpu", FAILURE="no compiler")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no compiler", result.stderr)
        self.assertIn("could not configure build/cpu", result.stderr)
        self.assertEqual(self.calls(), ["cmake --fresh --preset cpu"])
        self.assertEqual(self.run_script("setup", "cpu").returncode, 0)
        self.assertEqual(self.calls(), ["cmake --fresh --preset cpu", "cmake --build build/cpu"])
        # And one that works is kept, until its arguments change or the tree moves.
        self.run_script("setup", "cpu")
        self.assertEqual(self.calls(), ["cmake --build build/cpu"])
        self.run_script("setup", "cpu", WYVERN_CMAKE_ARGS="-DWYVERN_WERROR=ON -DX=1")
        self.assertEqual(self.calls()[0], "cmake --fresh --preset cpu -DWYVERN_WERROR=ON -DX=1")
        self.run_script("setup", "cpu", WYVERN_CMAKE_ARGS="-DWYVERN_WERROR=ON -DX=1")
        self.assertEqual(self.calls(), ["cmake --build build/cpu"])
        (self.root / "build/cpu/CMakeCache.txt").write_text("CMAKE_HOME_DIRECTORY:INTERNAL=/elsewhere\n")
        self.run_script("setup", "cpu", WYVERN_CMAKE_ARGS="-DWYVERN_WERROR=ON -DX=1")
        self.assertEqual(self.calls()[0], "cmake --fresh --preset cpu -DWYVERN_WERROR=ON -DX=1")

    def test_what_was_installed_is_found_by_the_next_configuration(self):
        self.run_script("setup", "cpu")
        self.calls()
        self.program("bin/dpkg-query", '#!/bin/bash\n[ "${*: -1}" != libopenmpi-dev ] && echo ok installed\n')
        self.program("bin/id", "#!/bin/bash\necho 0\n")
        self.program("bin/apt-get", '#!/bin/bash\necho "apt-get $*" >>"$CALLS"\n')
        self.assertEqual(self.run_script("setup", "cpu").returncode, 0)
        self.assertEqual(self.calls(), ["apt-get update -q",
                                        "apt-get install -y --no-install-recommends libopenmpi-dev",
                                        "cmake --preset cpu", "cmake --build build/cpu"])

    def test_what_is_missing_is_named_where_it_cannot_be_installed(self):
        self.program("bin/dpkg-query", '#!/bin/bash\n[ "${*: -1}" != libgmock-dev ] && echo ok installed\n')
        self.program("bin/id", "#!/bin/bash\necho 1000\n")
        self.program("bin/sudo", "#!/bin/bash\nexit 1\n")
        result = self.run_script("setup", "cpu")
        self.assertEqual(result.returncode, 1)
        self.assertIn("sudo apt-get install -y --no-install-recommends libgmock-dev\n", result.stderr)
        self.assertEqual(self.calls(), [])

    def test_the_clients_are_brought_once(self):
        install = "tests/clients/install"
        requirements = [f"-r{install.replace('install', name)}" for name in (
            "requirements.txt", "requirements-lm-eval.txt", "requirements-transformers.txt")]
        pip = " ".join(["pip install -q --only-binary :all: --retries 2 --disable-pip-version-check",
                        *requirements[:2]])
        result = self.run_script(install, FAILURE="WARNING: Retrying\nERROR: nothing found")
        self.assertEqual(result.returncode, 1)
        self.assertIn("could not be brought: PyPI cannot be reached (build/clients.log", result.stderr)
        self.assertEqual(self.calls(), ["venv build/clients", pip])
        self.assertEqual(self.run_script(install).returncode, 0)
        self.assertEqual(self.calls(), [pip])
        result = self.run_script(install)
        self.assertEqual((result.returncode, result.stdout, self.calls()), (0, "", []))
        # More is added, and what was asked for once is not asked for again.
        self.run_script(install, "--transformers")
        self.assertEqual(self.calls(), [f"{pip} {requirements[2]}"])
        self.run_script(install)
        self.assertEqual(self.calls(), [])
        with open(self.root / "tests/clients/requirements.txt", "a") as file:
            file.write("another==1\n")
        result = self.run_script(install, FAILURE="ERROR: no such version")
        self.assertIn("could not be brought: ERROR: no such version", result.stderr)
        self.run_script(install)
        self.assertEqual(self.calls(), [pip, pip])

    def test_skips_end_the_tests_and_are_failures_where_asked_for(self):
        result = self.run_script("test", "cpu", "-R", "slurm", "--", "--schedule-random")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("Skipped: 1 tests\n    1  no slurmctld\n       slurm\n", result.stdout)
        self.assertRegex(self.calls()[-1], "^ctest .* -R slurm --schedule-random$")
        result = self.run_script("test", "--strict", "cpu")
        self.assertEqual(result.returncode, 1)
        self.assertIn("does not name: no slurmctld", result.stderr)
        self.assertEqual(self.run_script("test", "cpu", CTEST_CODE="8").returncode, 8)
        # Without a network the tests run all the same.
        shutil.rmtree(self.root / "build/clients")
        self.calls()
        result = self.run_script("test", "cpu", FAILURE="Retrying")
        self.assertEqual(result.returncode, 0)
        self.assertIn("PyPI cannot be reached", result.stderr)
        self.assertRegex(self.calls()[-1], "^ctest ")
        # The fast tests need no clients.
        shutil.rmtree(self.root / "build/clients")
        self.assertEqual(self.run_script("test", "--fast", "cpu").returncode, 0)
        calls = self.calls()
        self.assertRegex(calls[-1], r"^ctest .* -L \^fast\$$")
        self.assertNotIn("venv build/clients", calls)


if __name__ == "__main__":
    unittest.main(verbosity=2)
