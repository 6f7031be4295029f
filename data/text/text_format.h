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

// The treatment of bytes that are not UTF-8: an error, or U+FFFD in their place.
enum class InvalidUtf8 { kError, kReplace };

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_TEXT_FORMAT_H_
