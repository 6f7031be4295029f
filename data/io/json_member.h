// One string member of a JSON object, found without a tree of all the others: an object of 64 MiB
// would take many times as much.
#ifndef WYVERN_DATA_IO_JSON_MEMBER_H_
#define WYVERN_DATA_IO_JSON_MEMBER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// The member `name` of the object `json`; of several, the last. Errors (InvalidArgument) begin with
// `origin`: no JSON (with the byte), no object, no such member (with those there are), no string.
absl::StatusOr<std::string> ReadJsonMember(absl::string_view json, const std::string& name,
                                           absl::string_view origin);

// Puts \uFFFD in the place of escapes that are half of a pair of surrogates, which no UTF-8 text
// can hold; returns their number.
int64_t ReplaceLoneSurrogates(std::string* json);

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_JSON_MEMBER_H_
