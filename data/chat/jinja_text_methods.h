// The methods of Python's str.
#ifndef WYVERN_DATA_CHAT_JINJA_TEXT_METHODS_H_
#define WYVERN_DATA_CHAT_JINJA_TEXT_METHODS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/chat/jinja_value.h"

namespace wyvern::jinja {

enum class Case { kUpper, kLower, kTitle, kCapitalize };
// Errors: characters that are not ASCII, whose cases depend on Unicode's version.
absl::StatusOr<std::string> ChangeCase(absl::string_view text, Case to);

enum class Side { kBoth, kFront, kBack };
// Without `chars`, whitespace; else any of its characters.
std::string Strip(absl::string_view text, const std::string* chars, Side side);

// str.splitlines.
std::vector<std::string> SplitLines(absl::string_view text, bool keep_ends);

// str.replace; count < 0: every one.
absl::StatusOr<std::string> ReplaceText(absl::string_view text, absl::string_view from,
                                        absl::string_view to, int64_t count);

// The method as a function bound to `text`; undefined if str has none of this name. Calling one
// that is not supported is an error.
Value TextMethod(const Value& text, const std::string& name);

}  // namespace wyvern::jinja

#endif  // WYVERN_DATA_CHAT_JINJA_TEXT_METHODS_H_
