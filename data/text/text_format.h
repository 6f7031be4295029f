// The options by which a user describes incoming text.
#ifndef WYVERN_DATA_TEXT_TEXT_FORMAT_H_
#define WYVERN_DATA_TEXT_TEXT_FORMAT_H_

namespace wyvern {

// kAuto: what the content shows, with the name as a hint (data/text/content.h).
enum class TextFormat { kAuto, kText, kJson };

// The treatment of bytes that are not UTF-8: an error, or U+FFFD in their place.
enum class InvalidUtf8 { kError, kReplace };

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_TEXT_FORMAT_H_
