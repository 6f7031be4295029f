#include "data/text/text_files.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "data/io/codec.h"
#include "data/io/file.h"
#include "data/io/file_stamp.h"
#include "data/io/read_buffer.h"
#include "data/text/content.h"
#include "data/text/path_list.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;
using FileId = std::pair<uint64_t, uint64_t>;  // device and inode

constexpr size_t kNamesShown = 5;

// A file's first bytes, decompressed.
absl::StatusOr<std::string> HeadOf(const std::string& path, bool* is_whole) {
  ASSIGN_OR_RETURN(std::unique_ptr<ByteStream> stream, ByteStream::Open(path));
  ReadBuffer buffer(std::move(stream));
  while (!buffer.at_end() && buffer.text().size() < kHeadBytes) RETURN_IF_ERROR(buffer.Fill());
  *is_whole = buffer.at_end();
  return std::string(buffer.text());
}

// The name without folders and compression, in small letters.
std::string PlainName(const std::string& path) {
  absl::string_view name = absl::string_view(path).substr(path.rfind('/') + 1);
  ConsumeCompressionSuffix(&name);
  return absl::AsciiStrToLower(name);
}

// Files that say something of a data set rather than being a part of it. A name of JSON, and JSON
// lines without an ending, are data whatever word they begin with: authors.jsonl.
bool IsAboutData(const std::string& path) {
  const std::string name = PlainName(path);
  for (const absl::string_view metadata :
       {"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"}) {
    if (name == metadata) return true;
  }
  if (HintOfName(path) != NameHint::kText) return false;
  for (const absl::string_view word :
       {"readme", "license", "licence", "changelog", "changes", "contributing", "citation",
        "notice", "authors", "code_of_conduct"}) {
    absl::string_view rest = name;
    if (absl::ConsumePrefix(&rest, word) &&
        (rest.empty() || rest[0] == '.' || rest[0] == '_' || rest[0] == '-')) {
      return true;
    }
  }
  return false;
}

// No ending, or one of a shard: part-00000, wiki_00, x.00000-of-00010.
bool IsShardName(const std::string& path) {
  const std::string name = PlainName(path);
  const size_t dot = name.rfind('.');
  return dot == std::string::npos || (dot + 1 < name.size() && absl::ascii_isdigit(name[dot + 1]));
}

bool HasKnownEnding(const std::string& path) {
  if (HintOfName(path) != NameHint::kNone || IsParquetName(PlainName(path))) return true;
  const std::string name = PlainName(path);
  const bool is_text = absl::EndsWith(name, ".txt") || absl::EndsWith(name, ".md");  // .jsonl.txt
  const std::string before = name.substr(0, name.rfind('.'));                        // .jsonl.00001
  return is_text || (IsShardName(path) && HintOfName(before) != NameHint::kNone);
}

std::string EndingOf(const std::string& path) {
  std::string ending = fs::path(PlainName(path)).extension().string();
  return ending.empty() ? "without an ending" : ending;
}

class FolderWalk {
 public:
  FolderWalk(std::string root, std::string field, MissingText missing)
      : root_(std::move(root)),
        field_(std::move(field)),
        marks_missing_(missing == MissingText::kMark) {}

  absl::StatusOr<std::vector<std::string>> Run() {
    linked_folders_ = {root_};
    while (!linked_folders_.empty()) {  // folders first, so that their names win over links'
      std::vector<std::string> folders = std::exchange(linked_folders_, {});
      for (const std::string& folder : folders) RETURN_IF_ERROR(Visit(folder));
    }
    RETURN_IF_ERROR(LeaveOutWhatIsAboutData());
    found_.insert(found_.end(), missing_.begin(), missing_.end());
    std::sort(found_.begin(), found_.end());
    if (found_.empty()) return NoText();
    return std::move(found_);
  }

  const std::set<std::string>& missing() const { return missing_; }  // of those that Run gave

  // Empty if nothing was passed over.
  std::string PassedOver() const {
    std::string text;
    for (const auto& [what, names] : passed_) {
      const size_t shown = std::min(names.size(), kNamesShown);
      absl::StrAppend(&text, text.empty() ? "" : ", ", names.size(), " ", what, " (",
                      absl::StrJoin(names.begin(), names.begin() + shown, ", "),
                      shown < names.size() ? ", ...)" : ")");
    }
    return text;
  }

 private:
  absl::Status Visit(const std::string& folder) {
    ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(folder));
    if (!folders_.insert({stamp.device, stamp.inode}).second) return absl::OkStatus();
    std::error_code error;
    std::vector<fs::directory_entry> entries;
    for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
         entry.increment(error)) {
      entries.push_back(*entry);
    }
    if (error) return ErrnoStatus(error.value(), "cannot list the folder", folder);
    std::sort(entries.begin(), entries.end());
    for (const fs::directory_entry& entry : entries) {
      const std::string path = entry.path().string();
      if (absl::StartsWith(entry.path().filename().string(), ".")) {
        PassOver("hidden", path);
        continue;
      }
      const fs::file_status status = entry.status(error);
      const bool leads_nowhere =
          status.type() == fs::file_type::not_found || error.value() == ELOOP;
      const bool is_dangling = leads_nowhere && entry.is_symlink();
      if (is_dangling && marks_missing_) {
        missing_.insert(path);
        continue;
      }
      if (is_dangling) {
        return absl::NotFoundError(absl::StrCat(path, ": a link to nothing (",
                                                fs::read_symlink(entry.path(), error).string(),
                                                "); mend or remove it"));
      }
      if (!fs::exists(status)) return ErrnoStatus(error.value(), "cannot read", path);
      if (fs::is_directory(status)) {
        if (entry.is_symlink()) {
          linked_folders_.push_back(path);
        } else {
          RETURN_IF_ERROR(Visit(path));
        }
      } else if (!fs::is_regular_file(status)) {
        PassOver("neither files nor folders", path);
      } else {
        ASSIGN_OR_RETURN(const bool is_text, IsText(path));
        if (is_text) {
          found_.push_back(path);
        } else {
          PassOver(IsShardName(path)
                       ? absl::StrCat(EndingOf(path), ", not JSON lines with '", field_, "'")
                       : EndingOf(path),
                   path);
        }
      }
    }
    return absl::OkStatus();
  }

  void PassOver(const std::string& why, const std::string& path) {
    passed_[why].push_back(fs::path(path).lexically_relative(root_).string());
  }

  absl::StatusOr<bool> IsText(const std::string& path) const {
    if (HasKnownEnding(path)) return true;
    if (!IsShardName(path)) return false;
    bool is_whole = false;
    ASSIGN_OR_RETURN(const std::string head, HeadOf(path, &is_whole));
    return MayBeJsonLinesWith(head, is_whole, field_);
  }

  absl::Status LeaveOutWhatIsAboutData() {
    std::vector<std::string> data, about;
    for (std::string& path : found_) {
      bool is_about = IsAboutData(path);
      if (!is_about) {
        ASSIGN_OR_RETURN(is_about, IsMetadata(path));
      }
      (is_about ? about : data).push_back(std::move(path));
    }
    // README.md alone may be a text; metadata alone are none.
    const bool is_beside_data = !data.empty() || passed_.size() > passed_.count("hidden");
    for (std::string& path : about) {
      if (is_beside_data || HintOfName(path) == NameHint::kJson) {
        PassOver("about the data", path);
      } else {
        data.push_back(std::move(path));
      }
    }
    found_ = std::move(data);
    return absl::OkStatus();
  }

  static absl::StatusOr<bool> IsMetadata(const std::string& path) {
    if (!absl::EndsWithIgnoreCase(path, ".json")) return false;
    bool is_whole = false;
    ASSIGN_OR_RETURN(const std::string head, HeadOf(path, &is_whole));
    return IsSingleObject(head);
  }

  absl::Status NoText() const {
    const std::string passed = PassedOver();
    if (passed_.count(".arrow") > 0) {
      return absl::NotFoundError(
          absl::StrCat(root_, ": no text in this folder; passed over: ", passed,
                       "; make Parquet of each .arrow file first, in Python: "
                       "datasets.Dataset.from_file(FILE).to_parquet(NEW_FILE)"));
    }
    return absl::NotFoundError(absl::StrCat(
        root_, ": no text in this folder", passed.empty() ? "" : "; passed over: ", passed,
        "; expected files that end in .txt, .md, .jsonl, .ndjson or .json, perhaps with .gz, .zst, "
        ".bz2 or .xz behind, or in .parquet; name files of other kinds one by one"));
  }

  const std::string root_, field_;
  const bool marks_missing_;
  std::set<std::string> missing_;  // links to nothing
  std::set<FileId> folders_;
  std::vector<std::string> linked_folders_;  // to be visited
  std::vector<std::string> found_;
  std::map<std::string, std::vector<std::string>>
      passed_;  // the reasons, and the files below root_
};

}  // namespace

absl::StatusOr<TextFiles> FindTextFiles(const std::vector<std::string>& inputs,
                                        const std::string& field, MissingText missing) {
  TextFiles found;
  std::vector<std::string> paths;
  for (const std::string& input : inputs) {
    std::error_code error;
    // A list that is gone may, as a folder, have named any number of files.
    const bool is_gone =
        missing == MissingText::kMark && IsPathList(input) && !fs::exists(input.substr(1), error);
    if (!IsPathList(input) || is_gone) {
      paths.push_back(input);
      continue;
    }
    ASSIGN_OR_RETURN(const std::vector<std::string> listed, ReadPathList(input));
    for (const std::string& path : listed) {
      if (missing == MissingText::kError && !fs::exists(path, error)) {
        return absl::NotFoundError(absl::StrCat(input.substr(1), ": it lists ", path,
                                                ", which is not there (relative paths start at "
                                                "the current folder)"));
      }
      paths.push_back(path);
    }
  }
  std::vector<std::string> all;
  for (const std::string& path : paths) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found && missing == MissingText::kMark) {
      found.missing.insert(path);
      all.push_back(path);
      continue;
    }
    if (!fs::exists(status)) {
      return ErrnoStatus(error ? error.value() : ENOENT, "cannot read the input", path);
    }
    if (!fs::is_directory(status)) {
      all.push_back(path);
      continue;
    }
    FolderWalk walk(path, field, missing);
    const absl::StatusOr<std::vector<std::string>> files = walk.Run();
    if (absl::IsNotFound(files.status()) && missing == MissingText::kMark) {
      found.missing.insert(path);
      all.push_back(path);
      continue;
    }
    RETURN_IF_ERROR(files.status());
    all.insert(all.end(), files->begin(), files->end());
    found.missing.insert(walk.missing().begin(), walk.missing().end());
    const std::string passed = walk.PassedOver();
    if (!passed.empty()) {
      found.notes.push_back(absl::StrCat(path, ": passed over ", passed));
    }
  }
  std::set<FileId> seen;
  int64_t repeated = 0;
  for (std::string& path : all) {
    if (found.missing.count(path) > 0) {
      found.paths.push_back(std::move(path));
      continue;
    }
    ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(path));
    if (stamp.is_regular && !seen.insert({stamp.device, stamp.inode}).second) {
      ++repeated;
    } else {
      found.paths.push_back(std::move(path));
    }
  }
  if (repeated > 0) {
    found.notes.push_back(
        absl::StrCat(repeated, repeated == 1 ? " file is" : " files are",
                     " reached by several names (links, or named twice), and read once"));
  }
  return found;
}

}  // namespace wyvern
