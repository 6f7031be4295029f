#include "data/store/preparation.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/io/byte_stream.h"
#include "data/io/file.h"
#include "data/io/file_stamp.h"
#include "data/io/json.h"
#include "data/store/token_store.h"
#include "data/store/token_store_format.h"
#include "data/text/text_files.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;
using token_store_format::HashText;

constexpr size_t kNamesShown = 5;

std::string PreparedPath(const PrepareOptions& options) {
  return absl::StrCat(options.output_dir, "/prepared.json");
}

// Without folders: the data may move.
std::string NameOf(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

// All but the files.
Json OptionsJson(const PrepareOptions& options, const Tokenizer& tokenizer) {
  const char* format = options.source.format == TextFormat::kAuto   ? "auto"
                       : options.source.format == TextFormat::kText ? "text"
                                                                    : "json";
  const bool replace = options.source.invalid_utf8 == InvalidUtf8::kReplace;
  Json json = {{"field", options.source.field},
               {"document_separator", options.source.document_separator},
               {"format", format},
               {"invalid_utf8", replace ? "replace" : "error"},
               {"seed", options.seed},
               {"tokenizer", tokenizer.hash()}};
  if (options.val_documents > 0) {
    json["val_documents"] = options.val_documents;
  } else {
    json["val_fraction"] = options.val_fraction;
  }
  return json;
}

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

absl::Status WritePreparedJson(const PrepareOptions& options, const std::string& description,
                               const Json& stamps) {
  const Json json = {{"preparation_id", HashText(description)}, {"stamps", stamps}};
  return WriteFileAtomically(PreparedPath(options), JsonText(json, 1) + "\n");
}

absl::Status MadeOtherwise(const PrepareOptions& options, const std::string& difference) {
  return absl::FailedPreconditionError(absl::StrCat(
      options.output_dir, "/train.h5 was made in another way than this configuration says (",
      difference, "); name another dir, or remove this one to prepare it again"));
}

// Names the first member that differs between two objects, `files` left aside; empty: none.
std::string OptionDifference(const Json& wanted, const Json& made) {
  std::set<std::string> keys;
  for (const Json* json : {&wanted, &made}) {
    for (const auto& item : json->items()) keys.insert(item.key());
  }
  keys.erase("files");
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

// A file's own bytes.
absl::StatusOr<ReadFileInfo> ReadWhole(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteStream> stream, ByteStream::OpenRaw(path));
  std::string buffer(size_t{1} << 20, '\0');
  while (true) {
    ASSIGN_OR_RETURN(const size_t got, stream->Read(buffer.data(), buffer.size()));
    if (got == 0) break;
  }
  return ReadFileInfo{stream->file_bytes_read(), stream->file_crc32(), stream->file_stamp()};
}

// prepared.json's stamps, if it belongs to these stores.
Json StampsOf(const PrepareOptions& options, const std::string& description, size_t num_files) {
  const absl::StatusOr<Json> prepared = ReadJsonFile(PreparedPath(options));
  if (!prepared.ok() || !prepared->is_object()) return Json::array();
  if (prepared->value("preparation_id", Json()) != HashText(description)) return Json::array();
  const Json stamps = prepared->value("stamps", Json::array());
  return stamps.is_array() && stamps.size() == num_files ? stamps : Json::array();
}

// The present path of each file that the stores were made from; empty: it is missing. A missing
// path may have been a folder of any number of files. So where a path is not the next file's, files
// may be left out from there on.
absl::StatusOr<std::vector<std::string>> PathsOf(const PrepareOptions& options,
                                                 const TextFiles& text, const Json& files) {
  if (!files.is_array()) return MadeOtherwise(options, "its description names no files");
  const auto made = [&files](size_t i) {
    return i < files.size() && files[i].is_object() ? JsonText(files[i].value("name", Json()))
                                                    : std::string("nothing");
  };
  std::vector<std::string> paths;
  bool may_leave_out = false;
  const auto different = [&](const std::string& name) {
    return MadeOtherwise(options,
                         absl::StrCat("file ", paths.size() + 1, " of its text: it was made from ",
                                      made(paths.size()), ", not ", name));
  };
  for (const std::string& path : text.paths) {
    const std::string name = JsonText(NameOf(path));
    if (text.missing.count(path) > 0) {
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

absl::Status CheckFiles(const PrepareOptions& options, const std::vector<std::string>& paths,
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
    ASSIGN_OR_RETURN(const ReadFileInfo read, ReadWhole(paths[i]));
    const Json found = FileJson(paths[i], read.bytes, read.crc32);
    if (found["bytes"] != files[i].value("bytes", Json()) ||
        found["crc32"] != files[i].value("crc32", Json())) {
      return MadeOtherwise(
          options, absl::StrFormat("%s has changed: it has %d bytes and CRC-32 %08x, it was made "
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

// Stores of earlier versions say nothing; their prepared.json has names and the sum of the sizes.
absl::Status CheckEarlierVersion(const PrepareOptions& options, const Tokenizer& tokenizer,
                                 const std::vector<std::string>& paths) {
  const absl::StatusOr<Json> made = ReadJsonFile(PreparedPath(options));
  if (absl::IsNotFound(made.status())) return absl::OkStatus();
  RETURN_IF_ERROR(made.status());
  int64_t text_bytes = 0;
  Json names = Json::array();
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(path));
    if (stamp.is_regular) text_bytes += stamp.bytes;
    names.push_back(NameOf(path));
  }
  const Json wanted = {{"text_bytes", text_bytes},
                       {"names", names},
                       {"field", options.source.field},
                       {"document_separator", options.source.document_separator},
                       {"val_fraction", options.val_fraction},
                       {"val_documents", options.val_documents},
                       {"tokenizer", tokenizer.hash()}};
  if (!made->is_object()) return MadeOtherwise(options, "prepared.json holds no object");
  Json found = *made;
  found["names"] = found.value("files", Json());
  const std::string difference = OptionDifference(wanted, found);
  return difference.empty() ? absl::OkStatus() : MadeOtherwise(options, difference);
}

}  // namespace

std::string DescribePreparation(const PrepareOptions& options, const Tokenizer& tokenizer,
                                const TextSource& source) {
  Json json = OptionsJson(options, tokenizer);
  json["files"] = Json::array();
  for (size_t i = 0; i < source.read_files().size(); ++i) {
    const ReadFileInfo& read = source.read_files()[i];
    json["files"].push_back(FileJson(source.files()[i], read.bytes, read.crc32));
  }
  return JsonText(json);
}

absl::Status WritePrepared(const PrepareOptions& options, const std::string& description,
                           const TextSource& source) {
  Json stamps = Json::array();
  for (const ReadFileInfo& read : source.read_files()) stamps.push_back(StampJson(read.stamp));
  return WritePreparedJson(options, description, stamps);
}

absl::Status CheckPrepared(const PrepareOptions& options, const Tokenizer& tokenizer,
                           std::vector<std::string>* notes) {
  const std::string store = absl::StrCat(options.output_dir, "/train.h5");
  ASSIGN_OR_RETURN(const TextFiles text,
                   FindTextFiles(options.source.paths, options.source.field, MissingText::kMark));
  if (!text.missing.empty()) {
    const size_t shown = std::min(text.missing.size(), kNamesShown);
    notes->push_back(absl::StrCat(
        "no text (any more) at ",
        absl::StrJoin(text.missing.begin(), std::next(text.missing.begin(), shown), ", "),
        shown < text.missing.size() ? absl::StrCat(" and ", text.missing.size() - shown, " more")
                                    : "",
        text.missing.size() < text.paths.size() ? "; the other files are compared, and " : "; ",
        store, " is used as it is"));
  }
  ASSIGN_OR_RETURN(const std::string description, ReadStorePreparation(store));
  if (description.empty()) {
    if (!text.missing.empty()) return absl::OkStatus();  // it knows the sum of the sizes alone
    return CheckEarlierVersion(options, tokenizer, text.paths);
  }
  ASSIGN_OR_RETURN(const Json made, ParseJson(description, absl::StrCat(store, ": preparation")));
  if (!made.is_object()) return MadeOtherwise(options, "its description is no object");
  // As text and back, as bytes that are not UTF-8 were lost on that way.
  ASSIGN_OR_RETURN(const Json wanted, ParseJson(JsonText(OptionsJson(options, tokenizer)), store));
  const std::string difference = OptionDifference(wanted, made);
  if (!difference.empty()) return MadeOtherwise(options, difference);

  const Json files = made.value("files", Json());
  ASSIGN_OR_RETURN(const std::vector<std::string> paths, PathsOf(options, text, files));
  Json stamps = StampsOf(options, description, paths.size());
  bool is_news = false;
  RETURN_IF_ERROR(CheckFiles(options, paths, files, &stamps, &is_news));
  // Where it cannot be written, the next start reads the files again.
  if (is_news) WritePreparedJson(options, description, stamps).IgnoreError();
  return absl::OkStatus();
}

}  // namespace wyvern
