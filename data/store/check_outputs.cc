#include "data/store/check_outputs.h"

#include <filesystem>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "data/io/file_stamp.h"
#include "data/io/hdf5_file.h"
#include "data/io/json.h"
#include "data/store/made_from.h"
#include "data/store/token_store_format.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

bool IsTokenStore(const std::string& path) {
  const absl::StatusOr<Hdf5File> file = Hdf5File::OpenReadOnly(path);
  if (!file.ok()) return false;
  const absl::StatusOr<std::string> format = file->GetString("/", "format");
  return format.ok() && *format == token_store_format::kFormat;
}

// Those of earlier versions have no id.
bool IsPrepared(const std::string& path) {
  const absl::StatusOr<nlohmann::json> json = ReadJsonFile(path);
  return json.ok() && json->is_object() &&
         (json->contains("preparation_id") || json->contains("text_bytes"));
}

}  // namespace

absl::Status CheckOutput(const std::string& path, bool (*is_ours)(const std::string& path),
                         absl::string_view kind, const std::vector<std::string>& inputs) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const FileStamp output, StampOf(path));
  for (const std::string& input : inputs) {
    const absl::StatusOr<FileStamp> stamp = StampOf(input);
    if (!stamp.ok() || stamp->device != output.device || stamp->inode != output.inode) continue;
    return absl::AlreadyExistsError(absl::StrCat(
        path, ": would be replaced, and is an input",
        input == path ? "" : absl::StrCat(" (", input, ")"), "; choose another output"));
  }
  if (output.is_regular && is_ours(path)) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrCat(path, ": exists already and is not ", kind,
                                               "; choose another output or remove it"));
}

absl::Status CheckStoreOutputs(const std::string& dir, const std::vector<std::string>& inputs) {
  for (const char* name : {"/train.h5", "/val.h5"}) {
    RETURN_IF_ERROR(CheckOutput(dir + name, IsTokenStore, "a token store", inputs));
  }
  return CheckOutput(PreparedPath(dir), IsPrepared, "the description of a token store", inputs);
}

}  // namespace wyvern
