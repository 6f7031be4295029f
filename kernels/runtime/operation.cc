#include "kernels/runtime/operation.h"

#include <exception>
#include <utility>
#include <vector>

namespace wyvern {
namespace {

struct Operations {
  std::vector<std::string> open;
  std::string failed;
  bool unwinding = false;  // `failed` is of the exception in flight
};

Operations& OfThread() {
  thread_local Operations operations;
  return operations;
}

}  // namespace

Operation::Operation(std::string what) : exceptions_(std::uncaught_exceptions()) {
  Operations& operations = OfThread();
  operations.open.push_back(std::move(what));
  operations.unwinding = false;
}

Operation::~Operation() {
  Operations& operations = OfThread();
  if (std::uncaught_exceptions() > exceptions_ && !operations.unwinding) {
    operations.failed = std::move(operations.open.back());
    operations.unwinding = true;
  }
  operations.open.pop_back();
}

std::string Operation::Current() {
  const Operations& operations = OfThread();
  return operations.open.empty() ? "" : operations.open.back();
}

std::string Operation::Failed() { return OfThread().failed; }

}  // namespace wyvern
