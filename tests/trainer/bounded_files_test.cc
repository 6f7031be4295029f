// Files of a run, a sweep and a preparation that another one is in the place of.
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/store/shard_plan.h"
#include "tests/data/data_fixture.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/evaluation/task.h"
#include "trainer/scaling/points.h"

namespace wyvern {
namespace {

class BoundedFilesTest : public DataTest {
 protected:
  // A file of 1 TiB, which is a hole.
  void WriteHuge(const std::string& name) {
    WriteText(name, "");
    std::filesystem::resize_file(Path(name), int64_t{1} << 40);
  }
  void ExpectRefused(const absl::Status& status, const std::string& name, const char* kind) {
    EXPECT_TRUE(absl::StrContains(status.message(), Path(name) + ": it has 1099511627776 bytes"))
        << status;
    EXPECT_TRUE(absl::StrContains(status.message(), absl::StrCat("and ", kind, " has at most ")))
        << status;
  }
};

TEST_F(BoundedFilesTest, NoneIsReadBeyondItsLimit) {
  WriteHuge("points.csv");
  ExpectRefused(PointsOfCsv(Path("points.csv")).status(), "points.csv", "a table of points");
  std::filesystem::create_directories(Path("sweep"));
  WriteText("sweep/sweep.yaml", "base: base.yaml\naxes: [{list: {run.seed: [1]}}]\n");
  WriteHuge("sweep/sweep.json");
  ExpectRefused(PointsOfSweep(Path("sweep")).status(), "sweep/sweep.json", "a JSON file");
  std::filesystem::create_directories(Path("step_00000001"));
  WriteHuge("step_00000001/manifest.json");
  ExpectRefused(ReadManifest(Path("step_00000001")).status(), "step_00000001/manifest.json",
                "a checkpoint's manifest");
  std::filesystem::create_directories(Path("store"));
  WriteHuge("store/shards.json");
  ExpectRefused(ReadShardPlan(Path("store")).status(), "store/shards.json", "a JSON file");
  WriteHuge("task.yaml");
  ExpectRefused(ReadTask(Path("task.yaml")).status(), "task.yaml", "a task of evaluation");
}

}  // namespace
}  // namespace wyvern
