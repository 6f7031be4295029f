// Tests that run on several ranks: every rank runs the same tests, in the same order, and the
// program fails if one of them does.
#include <gtest/gtest.h>

#include <cstdio>

#include "kernels/comm/failure/comm_failure.h"
#include "kernels/runtime/gpu.h"
#include "tests/ranks/ranks.h"

namespace wyvern {
namespace {

std::unique_ptr<World>* TheWorldPlace() {
  static std::unique_ptr<World> world;
  return &world;
}

}  // namespace

World& TheWorld() { return **TheWorldPlace(); }

bool RanksHaveGpus() { return CudaAvailable() && GpuCount() >= TheWorld().local_size(); }

int RunOnRanks() {
  SetCommTimeout(60);
  absl::StatusOr<std::unique_ptr<World>> world = World::Connect();
  if (!world.ok()) {
    std::fprintf(stderr, "%s\n", std::string(world.status().message()).c_str());
    return 1;
  }
  *TheWorldPlace() = *std::move(world);
  if (RanksHaveGpus()) {
    const absl::Status gpu = TheWorld().SelectGpu();
    if (!gpu.ok()) {
      std::fprintf(stderr, "%s\n", std::string(gpu.message()).c_str());
      return 1;
    }
  }
  if (TheWorld().rank() != 0) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    // The other ranks print only failures.
    class FailuresOnly : public testing::EmptyTestEventListener {
      void OnTestPartResult(const testing::TestPartResult& result) override {
        if (!result.failed()) return;
        std::fprintf(stderr, "rank %d: %s:%d: %s\n", TheWorld().rank(), result.file_name(),
                     result.line_number(), result.message());
      }
    };
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailuresOnly);
  }
  int32_t failed = RUN_ALL_TESTS() == 0 ? 0 : 1;
  TheWorld().host().AllReduce(&failed, &failed, 1, DType::kInt32, ReduceOp::kMax);
  TheWorldPlace()->reset();
  return failed;
}

}  // namespace wyvern

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return wyvern::RunOnRanks();
}
