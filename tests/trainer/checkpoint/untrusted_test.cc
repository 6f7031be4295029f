// Manifests with a right checksum that were not written by Wyvern.
#include <sys/stat.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "trainer/checkpoint/manifest.h"

namespace wyvern {
namespace {

class UntrustedManifestTest : public CheckpointTest {
 protected:
  void SetUp() override {
    ASSERT_TRUE(WriteCheckpoint(Run(), 1, SomeTensors(), {}, 0).ok());
    text_ = *ReadFile(Step(1) + "/manifest.json");
  }

  // The manifest with replacements and the checksum that belongs to it.
  std::string Changed(const std::vector<std::pair<std::string, std::string>>& replacements) const {
    std::string rest = text_.substr(text_.find('\n') + 1);
    for (const auto& [from, to] : replacements) {
      EXPECT_TRUE(absl::StrContains(rest, from)) << from;
      rest = absl::StrReplaceAll(rest, {{from, to}});
    }
    return absl::StrFormat("{\"manifest_crc32\": \"%08x\",\n%s", Crc32(rest.data(), rest.size()),
                           rest);
  }
  void ExpectDamaged(const std::vector<std::pair<std::string, std::string>>& replacements,
                     const std::string& part) {
    const absl::Status status = ManifestFromText(Changed(replacements), "m.json").status();
    EXPECT_FALSE(status.ok()) << part;
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status;
    EXPECT_TRUE(absl::StartsWith(status.message(), "m.json: ")) << status;
  }

  std::string text_;
};

TEST_F(UntrustedManifestTest, WrongTypesAreNamed) {
  ASSERT_TRUE(ManifestFromText(Changed({}), "m.json").ok());
  ExpectDamaged({{"\"step\": 1", "\"step\": \"1\""}},
                "damaged: step: expected an integer from 0, got \"1\"");
  ExpectDamaged({{"\"step\": 1", "\"step\": -1"}}, "damaged: step: expected an integer from 0");
  ExpectDamaged({{"\"step\": 1", "\"step\": 9223372036854775807"}}, "damaged: step: expected the");
  ExpectDamaged({{"\"step\": 1", "\"step\": 18446744073709551615"}},
                "damaged: step: expected an integer from 0, got 18446744073709551615");
  ExpectDamaged({{"\"step\": 1", "\"stop\": 1"}},
                "damaged: step: expected an integer from 0, got nothing");
  ExpectDamaged({{"\"format_version\": 1", "\"format_version\": []"}},
                "damaged: format_version: expected an integer");
  ExpectDamaged({{"\"meta\"", "\"beta\""}}, "damaged: meta: expected a value");
  ExpectDamaged({{"\"tensors\": [", "\"tensors\": 3, \"x\": ["}},
                "damaged: tensors: expected a list");
  ExpectDamaged({{"\"shards\": [", "\"shards\": {}, \"x\": ["}},
                "damaged: shards: expected a list");
  ExpectDamaged({{"\"tensors\": [", "\"tensors\": [7,"}},
                "damaged: tensors[0].name: expected a string, got nothing");
  ExpectDamaged({{"\"shape\":[7,5]", "\"shape\":[7,\"5\"]"}},
                "damaged: tensors[0].shape: expected a list of integers from 0, got [7,\"5\"]");
  ExpectDamaged({{"\"dtype\":\"fp64\"", "\"dtype\":\"fp8\""}}, "damaged: tensors[1].dtype");
  ExpectDamaged({{"\"name\":\"ids\"", "\"name\":\"counter\""}}, "a name of its own");
  ExpectDamaged({{"\"slices\":[]", "\"slices\":0"}}, "slices: expected a list, got 0");
}

TEST_F(UntrustedManifestTest, DeepJsonIsRefused) {
  for (const int depth : {100, 100'000}) {
    ExpectDamaged({{"\"meta\": ", absl::StrCat("\"x\": ", std::string(depth, '['),
                                               std::string(depth, ']'), ", \"meta\": ")}},
                  "nested too deeply");
  }
  EXPECT_TRUE(absl::StrContains(ManifestPartFromText(std::string(100'000, '[')).status().message(),
                                "nested too deeply"));
}

TEST_F(UntrustedManifestTest, SlicesHaveElementsInsideTheTensor) {
  const std::string size = "\"size\":[7,5]", start = "\"start\":[0,0]";
  for (const char* bad : {"[0,5]", "[7,0]", "[8,5]", "[7]", "[7,5,1]", "[7,9223372036854775807]"}) {
    ExpectDamaged({{size, absl::StrCat("\"size\":", bad)}}, "tensors[0].slices[0].size: expected");
  }
  ExpectDamaged({{start, "\"start\":[1,0]"}}, "tensors[0].slices[0].size: expected a block");
  ExpectDamaged({{start, "\"start\":[9223372036854775807,0]"}}, "slices[0].size: expected a block");
  ExpectDamaged({{size, "\"size\":[6,5]"}},
                "slices: expected blocks that cover the tensor \"model/embedding\" (30 of 35");
  ExpectDamaged({{"\"shape\":[0,3]", "\"shape\":[9223372036854775807,3]"}},
                "shape: expected a size that can be counted");
  ExpectDamaged({{"\"shape\":[0,3]", "\"shape\":[1,4611686018427387904]"}},
                "shape: expected a size that can be counted");
}

TEST_F(UntrustedManifestTest, SlicesAreBackedByTheirFile) {
  // Four million rows instead of seven, in the same file.
  ExpectDamaged({{"[7,5]", "[4000000,5]"}}, "what fits into shard-00000.h5 beside the others");
}

TEST_F(UntrustedManifestTest, SlicesAreBoundedInNumber) {
  const size_t begin = text_.find("\"slices\":[") + 10;
  std::string slices;
  const std::string one =
      R"({"shard":"shard-00000.h5","dataset":"/a","start":[0,0],"size":[1,1],"crc32":"00000000"},)";
  for (int i = 0; i < 16385; ++i) slices += one;
  std::string text = text_;
  text.insert(begin, slices);
  std::swap(text_, text);
  ExpectDamaged({}, "tensors[0].slices: expected at most 16384, got a list of 16386");
}

TEST_F(UntrustedManifestTest, PipesAreNotWaitedFor) {
  const std::string manifest = Step(1) + "/manifest.json", shard = Step(1) + "/shard-00000.h5";
  std::filesystem::rename(shard, shard + ".kept");
  ASSERT_EQ(mkfifo(shard.c_str(), 0600), 0);
  EXPECT_FALSE(OpenCheckpoint(Step(1)).ok());
  EXPECT_FALSE(Hdf5File::OpenReadOnly(shard).ok());
  std::filesystem::rename(shard + ".kept", shard);
  EXPECT_TRUE(OpenCheckpoint(Step(1)).ok());
  std::filesystem::remove(manifest);
  ASSERT_EQ(mkfifo(manifest.c_str(), 0600), 0);
  EXPECT_FALSE(OpenCheckpoint(Step(1)).ok());
}

TEST_F(UntrustedManifestTest, ShardsAreFilesOfTheFolder) {
  for (const char* name : {"../shard-00000.h5", "/etc/passwd", "..", ".", "", "a\\u0000b"}) {
    ExpectDamaged({{"\"file\":\"shard-00000.h5\"", absl::StrCat("\"file\":\"", name, "\"")}},
                  "shards[0].file: expected the name of a file in the folder");
  }
  ExpectDamaged({{"\"shard\":\"shard-00000.h5\"", "\"shard\":\"x.h5\""}},
                "slices[0].shard: expected a file of the list of shards");
}

}  // namespace
}  // namespace wyvern
