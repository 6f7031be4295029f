#include "trainer/checkpoint/parent_record.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/json_members.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/manifest.h"

namespace wyvern {

namespace fs = std::filesystem;

absl::StatusOr<nlohmann::json> ParentRecord(const CheckpointInfo& checkpoint,
                                            const std::string& kind) {
  ASSIGN_OR_RETURN(const std::string checksum, ManifestChecksum(checkpoint.path));
  return nlohmann::json{{"kind", kind},
                        {"path", AbsolutePath(checkpoint.path)},
                        {"step", checkpoint.step},
                        {"manifest_crc32", checksum}};
}

bool IsBranchOf(const nlohmann::json& record, const std::string& path) {
  const JsonMembers members(record, "the parent");
  const absl::StatusOr<std::string> parent = members.String("path");
  if (!parent.ok() || members.String("kind").value_or("") != kBranchParent) return false;
  const auto same = [](const fs::path& a, const fs::path& b) {
    std::error_code error_a, error_b;  // neither needs to exist any more
    const fs::path whole_a = fs::weakly_canonical(fs::absolute(a, error_a) / "", error_a),
                   whole_b = fs::weakly_canonical(fs::absolute(b, error_b) / "", error_b);
    return !error_a && !error_b && whole_a == whole_b;
  };
  const fs::path checkpoint(*parent);
  if (same(checkpoint, path) || same(checkpoint.parent_path().parent_path(), path)) return true;
  const absl::StatusOr<CheckpointInfo> there = OpenCheckpoint(path);
  if (!there.ok() || there->step != members.Count("step").value_or(-1)) return false;
  const absl::StatusOr<std::string> checksum = ManifestChecksum(there->path);
  return checksum.ok() && *checksum == members.String("manifest_crc32").value_or("");
}

std::string DescribeParent(const nlohmann::json& record) {
  const JsonMembers members(record, "the parent");
  const std::string path = members.String("path").value_or("unknown");
  const std::string kind = members.String("kind").value_or("");
  const char* how = kind == kBranchParent ? "branch" : "weights alone";
  const absl::StatusOr<int64_t> step = members.Count("step");
  return absl::StrCat(path, " (", step.ok() ? absl::StrCat("step ", *step, ", ") : "", how, ")");
}

}  // namespace wyvern
