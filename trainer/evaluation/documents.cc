#include "trainer/evaluation/documents.h"

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "data/io/byte_stream.h"
#include "data/io/json.h"
#include "data/io/utf8.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using Json = nlohmann::ordered_json;

absl::StatusOr<std::string> ReadAll(const std::string& path) {
  constexpr size_t kMostBytes = size_t{1} << 31;
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteStream> stream, ByteStream::Open(path));
  std::string text;
  std::vector<char> buffer(size_t{1} << 16);
  while (true) {
    ASSIGN_OR_RETURN(const size_t size, stream->Read(buffer.data(), buffer.size()));
    if (size == 0) return text;
    if (text.size() + size > kMostBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": more than 2 GiB of documents; divide it, or name another file"));
    }
    text.append(buffer.data(), size);
  }
}

// Moving JSON does not throw, which clang-tidy cannot see.
struct Line {  // NOLINT(bugprone-exception-escape)
  std::string place;
  Json object;
};

const char* TypeOf(const Json& value) {
  if (value.is_number()) return "a number";
  if (value.is_string()) return "a text";
  if (value.is_boolean()) return "true or false";
  return value.is_array() ? "a list" : "an object";
}

// The members of all lines, in the order in which they come.
class Columns {
 public:
  absl::Status Add(const Line& line) {
    for (const auto& [name, value] : line.object.items()) {
      const auto [found, is_new] = of_name_.try_emplace(name, columns_.size());
      if (is_new) columns_.emplace_back().name = name;
      Column& column = columns_[found->second];
      if (value.is_null()) continue;
      const char* const type = TypeOf(value);
      if (column.type == nullptr) {
        column.type = type;
        column.place = line.place;
      } else if (absl::string_view(column.type) != type) {
        return absl::InvalidArgumentError(absl::StrCat(line.place, ": ", name, ": it is ", type,
                                                       " here, and ", column.type, " in ",
                                                       column.place, "; make them one type"));
      }
      column.has_fractions |= value.is_number_float();
    }
    return absl::OkStatus();
  }

  jinja::Value Document(const Line& line) const {
    jinja::Dict members;
    for (const Column& column : columns_) {
      const auto found = line.object.find(column.name);
      jinja::Value value = jinja::Value::None();
      if (found != line.object.end()) {
        value = column.has_fractions && found->is_number()
                    ? jinja::Value::Float(found->get<double>())
                    : jinja::Value::FromJson(*found);
      }
      members.emplace_back(jinja::Value::Text(column.name), std::move(value));
    }
    return jinja::Value::OfDict(std::move(members));
  }

 private:
  struct Column {
    std::string name;
    const char* type = nullptr;  // null: no value yet
    std::string place;           // of the first value
    bool has_fractions = false;
  };
  std::vector<Column> columns_;
  std::map<std::string, size_t> of_name_;
};

}  // namespace

absl::StatusOr<std::vector<TaskDocument>> ReadDocuments(const std::vector<std::string>& files,
                                                        int64_t limit) {
  std::vector<Line> lines;
  Columns columns;
  for (const std::string& file : files) {
    ASSIGN_OR_RETURN(const std::string text, ReadAll(file));
    absl::string_view rest = text;
    absl::ConsumePrefix(&rest, kUtf8Bom);
    int64_t number = 0;
    for (const absl::string_view line : absl::StrSplit(rest, '\n')) {
      ++number;
      if (absl::StripAsciiWhitespace(line).empty()) continue;
      const std::string place = absl::StrCat(file, ":", number);
      ASSIGN_OR_RETURN(Json object, ParseOrderedJson(line, place));
      if (!object.is_object()) {
        return absl::InvalidArgumentError(
            absl::StrCat(place, ": expected an object, a document's fields, on each line"));
      }
      lines.push_back({place, std::move(object)});
      RETURN_IF_ERROR(columns.Add(lines.back()));
    }
  }
  if (lines.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(absl::StrJoin(files, ", "), ": no document; each line is one, in JSON"));
  }
  if (limit > 0 && static_cast<int64_t>(lines.size()) > limit) {
    lines.resize(static_cast<size_t>(limit));
  }
  std::vector<TaskDocument> documents;
  for (const Line& line : lines) documents.push_back({line.place, columns.Document(line)});
  return documents;
}

}  // namespace wyvern
