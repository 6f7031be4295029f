#include "trainer/run/self_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/file_descriptor.h"

namespace wyvern {
namespace {

bool IsOfRanks(const std::string& name) {
  static const std::set<std::string> kNames = {"RANK",        "WORLD_SIZE",  "LOCAL_RANK",
                                               "MASTER_ADDR", "MASTER_PORT", "LOCAL_WORLD_SIZE"};
  return kNames.count(name) > 0 || absl::StartsWith(name, "OMPI_COMM_WORLD_") ||
         absl::StartsWith(name, "PMI_") || absl::StartsWith(name, "PMIX_");
}

std::vector<char*> Pointers(std::vector<std::string>* texts) {
  std::vector<char*> pointers;
  for (std::string& text : *texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

std::vector<std::string> EnvironmentOfOne(const std::map<std::string, std::string>& added) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry, name = text.substr(0, text.find('='));
    if (added.count(name) == 0 && !IsOfRanks(name)) all.push_back(text);
  }
  for (const auto& [name, value] : added) all.push_back(absl::StrCat(name, "=", value));
  return all;
}

absl::StatusOr<pid_t> StartSelf(std::vector<std::string> arguments,
                                std::vector<std::string> environment, const std::string& log) {
  const FileDescriptor output(open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (output.get() < 0) return ErrnoStatus(errno, "cannot open", log);
  arguments.insert(arguments.begin(), "wyvern");
  const std::vector<char*> argv = Pointers(&arguments), envp = Pointers(&environment);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "cannot start", "wyvern " + arguments[1]);
  if (pid == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(1);
    dup2(output.get(), STDOUT_FILENO);
    dup2(output.get(), STDERR_FILENO);
    execve("/proc/self/exe", argv.data(), envp.data());
    _exit(127);
  }
  return pid;
}

}  // namespace wyvern
