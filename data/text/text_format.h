// The options by which a user describes incoming text.
#ifndef WYVERN_DATA_TEXT_TEXT_FORMAT_H_
#define WYVERN_DATA_TEXT_TEXT_FORMAT_H_

namespace wyvern {

// kAuto: what the content shows, with the name as a hint (data/text/content.h). kChat: JSON whose
// objects are conversations (data/chat/chat_template.h).
enum class TextFormat { kAuto, kText, kJson, kChat };

constexpr const char* Name(TextFormat format) {
  switch (format) {
    case TextFormat::kAuto:
      return "auto";
    case TextFormat::kText:
      return "text";
    case TextFormat::kJson:
      return "json";
    case TextFormat::kChat:
      return "chat";
  }
  return "?";
}

// The field of JSON, or column of Parquet, with the text where nothing else is said. An array of
// strings is read as if each stood under it, as Hugging Face datasets do.
inline constexpr char kTextField[] = "text";

// The treatment of bytes that are not UTF-8: an error, or U+FFFD in their place.
enum class InvalidUtf8 { kError, kReplace };

// The treatment of a damaged record (a line or element of JSON, a row of Parquet, a document of
// text that is not UTF-8): an error, or it is left out and counted.
enum class OnError { kError, kSkip };

// Documents that come again: kept, or left out if every byte is that of an earlier one.
enum class Dedup { kNone, kExact };

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_TEXT_FORMAT_H_
