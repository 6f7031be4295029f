#include "data/store/worker_processes.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/file_descriptor.h"
#include "kernels/runtime/catch.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

struct Worker {
  int number = 0;
  FileDescriptor error;  // where it writes its error: the code's digits, a space, the message
};

// Does not return.
void RunWorker(int number, pid_t parent, int error, const std::function<absl::Status(int)>& work) {
  // The handlers of the run that forked are not this process's; what it ignores (SIGHUP under
  // nohup) stays ignored.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) {
    struct sigaction now = {};
    if (sigaction(signal, nullptr, &now) == 0 && now.sa_handler != SIG_IGN) {
      ::signal(signal, SIG_DFL);
    }
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // it ended before the line above
  const absl::Status status = CatchAll([&] { return work(number); });
  std::fflush(nullptr);
  if (!status.ok()) {
    const std::string text = absl::StrCat(static_cast<int>(status.code()), " ", status.message());
    (void)!write(error, text.data(), text.size());
  }
  _exit(status.ok() ? 0 : 1);
}

// Reads the error of a worker that ended.
absl::Status ResultOf(const Worker& worker, int wait_status) {
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) return absl::OkStatus();
  std::string text(size_t{1} << 16, '\0');
  const ssize_t got = read(worker.error.get(), text.data(), text.size());
  text.resize(static_cast<size_t>(std::max<ssize_t>(0, got)));
  const size_t space = text.find(' ');
  if (space != std::string::npos) {
    return absl::Status(static_cast<absl::StatusCode>(std::atoi(text.c_str())),
                        text.substr(space + 1));
  }
  return absl::AbortedError(absl::StrCat(
      "worker ", worker.number, " ended",
      WIFSIGNALED(wait_status) ? absl::StrCat(" by the signal ", WTERMSIG(wait_status), " (",
                                              strsignal(WTERMSIG(wait_status)), ")")
                               : std::string(" without a word"),
      "; run the same command again, which goes on where it stopped"));
}

}  // namespace

absl::Status RunInProcesses(int count, const std::function<absl::Status(int)>& work,
                            const std::function<void()>& idle) {
  std::fflush(nullptr);  // else each process would write what waits here
  std::map<pid_t, Worker> running;
  absl::Status status;
  const auto stop = [&](absl::Status error) {
    if (!status.ok()) return;
    status = std::move(error);
    for (const auto& [pid, worker] : running) kill(pid, SIGTERM);
  };
  const pid_t self = getpid();
  for (int i = 0; i < count && status.ok(); ++i) {
    std::array<int, 2> ends;
    if (pipe2(ends.data(), O_CLOEXEC) != 0) {
      stop(ErrnoStatus(errno, "cannot start a worker:", "pipe"));
      break;
    }
    FileDescriptor reader(ends[0]), writer(ends[1]);
    const pid_t pid = fork();
    if (pid == 0) RunWorker(i, self, writer.get(), work);
    if (pid < 0) {
      stop(ErrnoStatus(errno, "cannot start a worker:", "fork"));
      break;
    }
    running.emplace(pid, Worker{i, std::move(reader)});
  }
  while (!running.empty()) {
    bool has_ended = false;
    for (auto worker = running.begin(); worker != running.end();) {
      int wait_status = 0;
      const pid_t found = waitpid(worker->first, &wait_status, WNOHANG);
      if (found == 0 || (found < 0 && errno == EINTR)) {
        ++worker;
        continue;
      }
      const absl::Status result = found < 0
                                      ? ErrnoStatus(errno, "cannot wait for a worker:", "waitpid")
                                      : ResultOf(worker->second, wait_status);
      worker = running.erase(worker);
      has_ended = true;
      if (!result.ok()) stop(result);
    }
    if (has_ended || running.empty()) continue;
    idle();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return status;
}

}  // namespace wyvern
