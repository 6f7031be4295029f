#include "data/store/made_from.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/io/byte_stream.h"
#include "data/io/file.h"
#include "data/io/file_stamp.h"
#include "data/store/token_store_format.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;
using token_store_format::HashText;

constexpr size_t kNamesShown = 5;

Json FileJson(const std::string& path, int64_t bytes, uint32_t crc32) {
  return {{"name", NameOf(path)}, {"bytes", bytes}, {"crc32", absl::StrFormat("%08x", crc32)}};
}

// Null for a file that a later one could be mistaken for.
Json StampJson(const FileStamp& stamp) {
  if (!stamp.is_regular || !stamp.is_settled) return nullptr;
  return {{"bytes", stamp.bytes},
          {"inode", stamp.inode},
          {"modified_ns", stamp.modified_ns},
          {"changed_ns", stamp.changed_ns}};
}

absl::Status WritePreparedJson(const std::string& dir, const std::string& description,
                               const Json& stamps) {
  const Json json = {{"preparation_id", HashText(description)}, {"stamps", stamps}};
  return WriteFileAtomically(PreparedPath(dir), JsonText(json, 1) + "\n");
}

// prepared.json's stamps, if it belongs to these stores.
Json StampsOf(const std::string& dir, const std::string& description, size_t num_files) {
  const absl::StatusOr<Json> prepared = ReadJsonFile(PreparedPath(dir));
  if (!prepared.ok() || !prepared->is_object()) return Json::array();
  if (prepared->value("preparation_id", Json()) != HashText(description)) return Json::array();
  const Json stamps = prepared->value("stamps", Json::array());
  return stamps.is_array() && stamps.size() == num_files ? stamps : Json::array();
}

absl::Status CheckFiles(const std::string& dir, const std::vector<std::string>& paths,
                        const Json& files, Json* stamps, bool* is_news) {
  const bool has_stamps = !stamps->empty();
  Json now = Json::array();
  for (size_t i = 0; i < paths.size(); ++i) {
    if (paths[i].empty()) {
      now.push_back(has_stamps ? (*stamps)[i] : Json());
      continue;
    }
    ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(paths[i]));
    FileStamp settled = stamp;
    settled.is_settled = true;
    if (has_stamps && StampJson(settled) == (*stamps)[i] && stamp.is_regular) {
      now.push_back((*stamps)[i]);
      continue;
    }
    *is_news = true;
    ASSIGN_OR_RETURN(const ReadFileInfo read, ReadWholeFile(paths[i]));
    const Json found = FileJson(paths[i], read.bytes, read.crc32);
    if (found["bytes"] != files[i].value("bytes", Json()) ||
        found["crc32"] != files[i].value("crc32", Json())) {
      return MadeOtherwise(
          dir, absl::StrFormat("%s has changed: it has %d bytes and CRC-32 %08x, it was made "
                               "from %s bytes and CRC-32 %s",
                               paths[i], read.bytes, read.crc32,
                               JsonText(files[i].value("bytes", Json())),
                               JsonText(files[i].value("crc32", Json()))));
    }
    now.push_back(StampJson(read.stamp));
  }
  *stamps = std::move(now);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> PresentPaths(const std::string& dir,
                                                      const std::vector<std::string>& present,
                                                      const std::set<std::string>& missing,
                                                      const Json& files) {
  // A missing path may have been a folder of any number of files. So where a path is not the next
  // file's, files may be left out from there on.
  if (!files.is_array()) return MadeOtherwise(dir, "its description names no files");
  const auto made = [&files](size_t i) {
    return i < files.size() && files[i].is_object() ? JsonText(files[i].value("name", Json()))
                                                    : std::string("nothing");
  };
  std::vector<std::string> paths;
  bool may_leave_out = false;
  const auto different = [&](const std::string& name) {
    return MadeOtherwise(dir, absl::StrCat("file ", paths.size() + 1, ": it was made from ",
                                           made(paths.size()), ", not ", name));
  };
  for (const std::string& path : present) {
    const std::string name = JsonText(NameOf(path));
    if (missing.count(path) > 0) {
      if (made(paths.size()) == name) {
        paths.emplace_back();
      } else {
        may_leave_out = true;
      }
      continue;
    }
    size_t i = paths.size();
    while (may_leave_out && i < files.size() && made(i) != name) ++i;
    if (made(i) != name) return different(name);
    paths.resize(i);
    paths.push_back(path);
  }
  if (paths.size() < files.size() && !may_leave_out) return different("nothing");
  paths.resize(files.size());
  return paths;
}

std::string PreparedPath(const std::string& dir) { return absl::StrCat(dir, "/prepared.json"); }

std::string NameOf(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

absl::Status MadeOtherwise(const std::string& dir, const std::string& difference) {
  return absl::FailedPreconditionError(
      absl::StrCat(dir, "/train.h5 was made in another way than this configuration says (",
                   difference, "); name another dir, or remove this one to prepare it again"));
}

std::string OptionDifference(const Json& wanted, const Json& made) {
  std::set<std::string> keys;
  for (const Json* json : {&wanted, &made}) {
    for (const auto& item : json->items()) keys.insert(item.key());
  }
  keys.erase("files");
  keys.erase("left_out");
  const auto value = [](const Json& json, const std::string& key) {
    return json.contains(key) ? JsonText(json[key]) : "none";
  };
  for (const std::string& key : keys) {
    if (value(wanted, key) != value(made, key)) {
      return absl::StrCat(key, ": it was made with ", value(made, key), ", not ",
                          value(wanted, key));
    }
  }
  return "";
}

absl::StatusOr<ReadFileInfo> ReadWholeFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteStream> stream, ByteStream::OpenRaw(path));
  std::string buffer(size_t{1} << 20, '\0');
  while (true) {
    ASSIGN_OR_RETURN(const size_t got, stream->Read(buffer.data(), buffer.size()));
    if (got == 0) break;
  }
  return ReadFileInfo{stream->file_bytes_read(), stream->file_crc32(), stream->file_stamp()};
}

std::string DescribeMadeFrom(Json options, const std::vector<std::string>& files,
                             const std::vector<ReadFileInfo>& read) {
  options["files"] = Json::array();
  for (size_t i = 0; i < files.size(); ++i) {
    options["files"].push_back(FileJson(files[i], read[i].bytes, read[i].crc32));
  }
  return JsonText(options);
}

absl::Status WritePrepared(const std::string& dir, const std::string& description,
                           const std::vector<ReadFileInfo>& read) {
  Json stamps = Json::array();
  for (const ReadFileInfo& file : read) stamps.push_back(StampJson(file.stamp));
  return WritePreparedJson(dir, description, stamps);
}

void NoteMissing(const std::string& dir, const std::vector<std::string>& files,
                 const std::set<std::string>& missing, std::vector<std::string>* notes) {
  if (missing.empty()) return;
  const size_t shown = std::min(missing.size(), kNamesShown);
  notes->push_back(absl::StrCat(
      "no text (any more) at ",
      absl::StrJoin(missing.begin(), std::next(missing.begin(), shown), ", "),
      shown < missing.size() ? absl::StrCat(" and ", missing.size() - shown, " more") : "",
      missing.size() < files.size() ? "; the other files are compared, and " : "; ", dir,
      "/train.h5 is used as it is"));
}

absl::Status CheckMadeFrom(const std::string& dir, const std::string& description,
                           const Json& options, const std::vector<std::string>& files,
                           const std::set<std::string>& missing) {
  ASSIGN_OR_RETURN(const Json made,
                   ParseJson(description, absl::StrCat(dir, "/train.h5: preparation")));
  if (!made.is_object()) return MadeOtherwise(dir, "its description is no object");
  // As text and back, as bytes that are not UTF-8 were lost on that way.
  ASSIGN_OR_RETURN(const Json wanted, ParseJson(JsonText(options), dir));
  const std::string difference = OptionDifference(wanted, made);
  if (!difference.empty()) return MadeOtherwise(dir, difference);

  const Json made_files = made.value("files", Json());
  ASSIGN_OR_RETURN(const std::vector<std::string> paths,
                   PresentPaths(dir, files, missing, made_files));
  Json stamps = StampsOf(dir, description, paths.size());
  bool is_news = false;
  RETURN_IF_ERROR(CheckFiles(dir, paths, made_files, &stamps, &is_news));
  // Where it cannot be written, the next start reads the files again.
  if (is_news) WritePreparedJson(dir, description, stamps).IgnoreError();
  return absl::OkStatus();
}

}  // namespace wyvern
