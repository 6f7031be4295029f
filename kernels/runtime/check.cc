#include "kernels/runtime/check.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/failure_observer.h"
#include "kernels/runtime/operation.h"

namespace wyvern {
namespace {

std::atomic<void (*)(const std::string&)> the_observer{nullptr};

}  // namespace

void SetFailureObserver(void (*observer)(const std::string&)) { the_observer = observer; }

void ObserveFailure(const std::string& message) {
  if (void (*observer)(const std::string&) = the_observer) observer(message);
}

void AppendNumber(std::string* text, double number) { absl::StrAppend(text, number); }

void CheckFailed(const char* file, int line, const char* expression, const std::string& message) {
  const std::string operation = Operation::Current();
  const std::string text =
      absl::StrCat(file, ":", line, ": check failed: ", expression, message.empty() ? "" : ": ",
                   message, operation.empty() ? "" : ", while ", operation);
  std::fprintf(stderr, "%s\n", text.c_str());
  std::fflush(stderr);
  ObserveFailure(text);
  std::abort();
}

}  // namespace wyvern
