#include "autograd/profiler_range.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/ops/pointwise/silu.h"
#include "autograd/tape.h"

namespace wyvern {
namespace {

// Writes down every span as "name pass bytes", those inside others indented.
struct Recorder : RangeObserver {
  std::vector<std::string> open, lines;

  Recorder() { ObserveRanges(this); }
  ~Recorder() override { ObserveRanges(nullptr); }
  void Begin(const char* name, WorkClass work_class, Pass pass) override {
    EXPECT_EQ(work_class, WorkClass::kPointwise);
    open.push_back(absl::StrCat(std::string(open.size(), ' '), name, " ", Name(pass)));
  }
  void End(const Work& work) override {
    lines.push_back(absl::StrCat(open.back(), " ", work.bytes));
    open.pop_back();
  }
};

Var Apply(Tape& tape, const Var& x) { return tape.Apply<Silu>({.x = x}, {}).y; }

TEST(ProfilerRange, ObserversSeeEveryOpInItsPassWithItsWork) {
  const Var x = Var::Leaf(Tensor::Zeros({10}, DType::kFloat32, Device::kCpu));
  Tape tape;
  const Cost cost = Silu::EstimateCost({.x = x.value()}, {});
  const auto line = [&](const char* name, Pass pass, double bytes) {
    return absl::StrCat(name, " ", Name(pass), " ", bytes);
  };
  Var y;
  {
    const Recorder recorder;
    const Var a = Apply(tape, x);
    y = tape.Recompute(
        [](Tape& t, const std::vector<Var>& in) { return std::vector<Var>{Apply(t, in[0])}; },
        {a})[0];
    EXPECT_EQ(recorder.lines,
              std::vector<std::string>(2, line("silu", Pass::kForward, cost.forward_bytes)));
  }
  const Var z = Apply(tape, x);
  const Recorder recorder;
  const Tensor seed = Tensor::Zeros({10}, DType::kFloat32, Device::kCpu);
  tape.Backward({{y, seed}, {z, seed}});
  EXPECT_TRUE(recorder.open.empty());
  const std::string backward = line("silu", Pass::kBackward, cost.backward_bytes);
  EXPECT_EQ(recorder.lines,
            (std::vector<std::string>{backward,  // of z
                                      line("silu", Pass::kRecompute, cost.forward_bytes), backward,
                                      line(" add_gradient", Pass::kBackward, 3 * 40), backward}));
}

}  // namespace
}  // namespace wyvern
