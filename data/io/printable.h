// Text from files, as a terminal may show it.
#ifndef WYVERN_DATA_IO_PRINTABLE_H_
#define WYVERN_DATA_IO_PRINTABLE_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace wyvern {

// The longest line that a message has.
inline constexpr size_t kMaxPrintedLine = 4096;

// Writes control characters other than newlines and tabs, bytes that are not UTF-8, byte order
// marks and marks of direction as \xHH. Of a line beyond kMaxPrintedLine bytes, the middle is left
// out and counted: its beginning names the place, its end what to do.
std::string Printable(absl::string_view text);

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_PRINTABLE_H_
