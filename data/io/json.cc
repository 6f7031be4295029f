#include "data/io/json.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "data/io/bounded_file.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// The byte at which brackets are nested more than kMaxJsonDepth deep, or npos.
size_t FindTooDeep(absl::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) return i;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return absl::string_view::npos;
}

// The library's message, without the name and number of its exception.
std::string Reason(const nlohmann::json::exception& error) {
  const std::string text = error.what();
  const size_t bracket = text.find("] ");
  return bracket == std::string::npos ? text : text.substr(bracket + 2);
}

template <typename Json>
absl::StatusOr<Json> Parse(absl::string_view text, absl::string_view origin) {
  const size_t deep = FindTooDeep(text);
  if (deep != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(origin, ": byte ", deep + 1,
                                                   ": the JSON is nested too deeply; at most ",
                                                   kMaxJsonDepth, " levels are read"));
  }
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(origin, ": byte ", error.byte, ": this is not JSON (", Reason(error), ")"));
  } catch (const nlohmann::json::exception& error) {  // a number that no double holds
    return absl::InvalidArgumentError(
        absl::StrCat(origin, ": this JSON cannot be read (", Reason(error), ")"));
  }
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view origin) {
  return Parse<nlohmann::json>(text, origin);
}

absl::StatusOr<nlohmann::ordered_json> ParseOrderedJson(absl::string_view text,
                                                        absl::string_view origin) {
  return Parse<nlohmann::ordered_json>(text, origin);
}

absl::StatusOr<std::string> ReadJsonText(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a file"));  // a pipe would block
  }
  return ReadFileOf(kJsonFile, path);
}

absl::StatusOr<nlohmann::json> ReadJsonFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadJsonText(path));
  return ParseJson(text, path);
}

std::string JsonText(const nlohmann::json& value, int indent) {
  return value.dump(indent, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
}

std::string Utf8(absl::string_view text) {
  return nlohmann::json::parse(JsonText(std::string(text))).get<std::string>();
}

}  // namespace wyvern
