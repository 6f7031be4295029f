// Runs the program `wyvern` in a folder of its own, with a tiny configuration over two sources,
// each gone through more than once in a run of 40 steps.
#ifndef WYVERN_TESTS_TRAINER_RUN_FIXTURE_H_
#define WYVERN_TESTS_TRAINER_RUN_FIXTURE_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/data/data_fixture.h"
#include "trainer/checkpoint/read.h"

namespace wyvern {

struct ProcessResult {
  int exit_code = -1;  // -1: ended by a signal
  std::string out, err;
};

class RunTest : public DataTest {
 protected:
  void SetUp() override {
    // One thread: the shapes are too small to share, and several tests may run at once.
    setenv("OMP_NUM_THREADS", "1", 1);
    WriteText("a.txt", SomeText(1, 60));
    WriteText("b.txt", SomeText(2, 40));
    WriteText("config.yaml", Config());
  }

  // Documents of different lengths, separated by blank lines.
  static std::string SomeText(int seed, int documents) {
    const char* words[] = {"delta ", "rule ", "erases ", "then ", "writes ", "state ", "key "};
    std::string text;
    uint32_t x = static_cast<uint32_t>(seed);
    for (int d = 0; d < documents; ++d) {
      for (int w = 0; w < 3 + (d * 7 + seed) % 11; ++w) {
        x = x * 1664525u + 1013904223u;
        text += words[(x >> 24) % 7];
      }
      text += "\n\n";
    }
    return text;
  }

  std::string Config() const {
    return absl::StrCat(
        R"(run: {name: tiny, device: cpu, dir: )", Path("run"), R"(}
model:
  vocab_size: 258
  hidden_size: 32
  num_layers: 3
  intermediate_size: 48
  mixers:
    gdn: {type: gated_delta_net, num_heads: 2, key_dim: 16, value_dim: 16}
    kda: {type: kda, num_heads: 2, key_dim: 16, value_dim: 16}
    local: {type: attention, num_heads: 2, window: 8}
  pattern: [gdn, kda, local]
tokenizer: {type: byte}
data:
  sources:
    - {dir: )",
        Path("store_a"), ", text: [", Path("a.txt"), R"(], document_separator: "\n\n", weight: 2}
    - {dir: )",
        Path("store_b"), ", text: [", Path("b.txt"), R"(], document_separator: "\n\n", weight: 3}
  seq_len: 32
train: {steps: 40, batch_tokens: 256, micro_batch: 4}
schedule: {type: constant, peak: 5e-3, warmup_steps: 4}
validation: {every: 10, batches: 2}
checkpoint: {every: 10, keep: 100}
logging: {every: 10}
)");
  }

  static std::string Read(const std::string& path) { return ReadFile(path).value_or(""); }

  // The program, which is built beside the tests.
  static std::string Binary() {
    return std::filesystem::read_symlink("/proc/self/exe").replace_filename("wyvern");
  }

  // A started process; its output goes to files.
  struct Process {
    pid_t pid;
    std::string out, err;
  };
  // With `ranks`, as that many of them.
  Process Start(const std::vector<std::string>& args, int ranks = 1) {
    std::vector<std::string> all = {Binary()};
    if (ranks > 1) all = {"tests/ranks/start", absl::StrCat(ranks), Binary()};
    all.insert(all.end(), args.begin(), args.end());
    return StartCommand(std::move(all));
  }
  Process StartCommand(std::vector<std::string> all) {
    const std::string id = absl::StrCat("process", ++num_processes_);
    Process process{0, Path(id + ".out"), Path(id + ".err")};
    std::vector<char*> argv;
    for (std::string& arg : all) argv.push_back(arg.data());
    argv.push_back(nullptr);
    process.pid = fork();
    if (process.pid == 0) {
      if (own_group_) setpgid(0, 0);
      dup2(open(process.out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
      dup2(open(process.err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
    return process;
  }
  ProcessResult Wait(const Process& process) {
    int status = 0;
    waitpid(process.pid, &status, 0);
    ProcessResult result;
    if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
    result.out = Read(process.out);
    result.err = Read(process.err);
    return result;
  }
  ProcessResult Wyvern(const std::vector<std::string>& args) { return Wait(Start(args)); }
  // wyvern train of the tiny configuration with overrides.
  static std::vector<std::string> TrainArgs(const std::string& config,
                                            const std::vector<std::string>& sets) {
    std::vector<std::string> args = {"train", config};
    if (!sets.empty()) args.push_back("--set");
    args.insert(args.end(), sets.begin(), sets.end());
    return args;
  }
  ProcessResult Train(const std::vector<std::string>& sets = {}) {
    return Wyvern(TrainArgs(Path("config.yaml"), sets));
  }

  // Whether the condition came true while the process ran.
  bool WaitUntil(const Process& process, const std::function<bool()>& condition) {
    for (;;) {
      if (condition()) return true;
      siginfo_t info = {};
      waitid(P_PID, static_cast<id_t>(process.pid), &info, WEXITED | WNOHANG | WNOWAIT);
      if (info.si_pid == process.pid) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  static std::string Checkpoint(const std::string& run, int64_t step) {
    const std::string digits = std::to_string(step);
    return absl::StrCat(run, "/checkpoints/step_", std::string(8 - digits.size(), '0'), digits);
  }

  // Puts `to` in the place of the first `from`, which is there.
  static void Replace(std::string* text, const std::string& from, const std::string& to) {
    const size_t at = text->find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text->replace(at, from.size(), to);
  }

  // Step to line, with what time and memory decide left out.
  std::map<int64_t, std::string> Metrics(const std::string& run) {
    std::map<int64_t, std::string> lines;
    for (const std::string& line : std::vector<std::string>(
             absl::StrSplit(Read(run + "/metrics.jsonl"), '\n', absl::SkipEmpty()))) {
      auto json = nlohmann::json::parse(line, nullptr, false);
      EXPECT_TRUE(json.is_object()) << line;
      for (const char* key :
           {"tokens_per_s", "step_ms", "peak_bytes", "mfu", "checkpoint_stall_ms", "checkpoint_s",
            "waiting", "waiting_slowest", "slowest_rank", "time", "elapsed_s"}) {
        json.erase(key);
      }
      EXPECT_TRUE(lines.emplace(json["step"].get<int64_t>(), json.dump()).second)
          << "step twice: " << line;
    }
    return lines;
  }

  // Every tensor of two checkpoints, byte for byte.
  void ExpectEqualCheckpoints(const std::string& a, const std::string& b) {
    const auto info_a = OpenCheckpoint(a), info_b = OpenCheckpoint(b);
    ASSERT_TRUE(info_a.ok()) << info_a.status();
    ASSERT_TRUE(info_b.ok()) << info_b.status();
    ASSERT_EQ(info_a->tensors.size(), info_b->tensors.size());
    EXPECT_GT(info_a->tensors.size(), 100u);  // the moments too
    std::vector<NamedTensor> tensors_a, tensors_b;
    for (const CheckpointTensor& t : info_a->tensors) {
      tensors_a.push_back({t.name, Tensor::Zeros(t.shape, t.dtype, Device::kCpu)});
      tensors_b.push_back({t.name, Tensor::Zeros(t.shape, t.dtype, Device::kCpu)});
    }
    ASSERT_TRUE(ReadCheckpoint(a, tensors_a).ok());
    ASSERT_TRUE(ReadCheckpoint(b, tensors_b).ok());
    const auto bytes = [](const Tensor& t) {
      return std::string_view(static_cast<const char*>(t.raw()), static_cast<size_t>(t.nbytes()));
    };
    for (size_t i = 0; i < tensors_a.size(); ++i) {
      EXPECT_TRUE(bytes(tensors_a[i].tensor) == bytes(tensors_b[i].tensor)) << tensors_a[i].name;
    }
  }

  // Whether started processes leave the group of the test. Linux hangs up on a group with a stopped
  // process when the shell that started the group ends.
  bool own_group_ = false;

 private:
  int num_processes_ = 0;
};

}  // namespace wyvern

#endif  // WYVERN_TESTS_TRAINER_RUN_FIXTURE_H_
