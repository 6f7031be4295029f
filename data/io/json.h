// JSON that anyone may have written. Nothing here throws, overflows the stack or loses the name of
// the file.
#ifndef WYVERN_DATA_IO_JSON_H_
#define WYVERN_DATA_IO_JSON_H_

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// Copies and destructors of nlohmann::json recurse, so a deeper value could overflow the stack.
inline constexpr int kMaxJsonDepth = 64;

// Errors (InvalidArgument) begin with `origin` and say at which byte: no JSON, nested too deeply,
// text that is not UTF-8.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view origin);

// The same; objects keep the order of their members.
absl::StatusOr<nlohmann::ordered_json> ParseOrderedJson(absl::string_view text,
                                                        absl::string_view origin);

// The file's value. Errors: as ReadFile and ParseJson, and for what is no file (a folder, a pipe).
absl::StatusOr<nlohmann::json> ReadJsonFile(const std::string& path);
// The text of such a file. Its errors alone: the JSON is not looked at.
absl::StatusOr<std::string> ReadJsonText(const std::string& path);

// The value as text; bytes that are not UTF-8 become U+FFFD. indent < 0: one line.
std::string JsonText(const nlohmann::json& value, int indent = -1);
// Text, likewise.
std::string Utf8(absl::string_view text);

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_JSON_H_
