#include "kernels/runtime/operation.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

namespace wyvern {
namespace {

void Throw(const std::string& what) {
  const Operation inner(what);
  throw std::runtime_error("x");
}

TEST(Operation, TheInnermostOneThatAnExceptionEndedIsKnown) {
  const Operation outer("training");
  try {
    const Operation middle("reading a folder");
    EXPECT_EQ(Operation::Current(), "reading a folder");
    { const Operation done("reading its list"); }
    Throw("reading a file");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(Operation::Failed(), "reading a file");
  EXPECT_EQ(Operation::Current(), "training");
  try {
    Throw("reading another file");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(Operation::Failed(), "reading another file");
}

TEST(Operation, ThreadsHaveTheirOwn) {
  const Operation here("here");
  std::thread([] {
    EXPECT_EQ(Operation::Current(), "");
    EXPECT_EQ(Operation::Failed(), "");
    const Operation there("there");
    EXPECT_EQ(Operation::Current(), "there");
  }).join();
  EXPECT_EQ(Operation::Current(), "here");
}

}  // namespace
}  // namespace wyvern
