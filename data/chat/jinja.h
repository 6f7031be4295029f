// Jinja2 templates of chats and of tasks: the text that Jinja2 gives, or an error. A template
// has no access to anything but its variables, and its time and memory are bounded, so that one
// from a stranger can be rendered.
#ifndef WYVERN_DATA_CHAT_JINJA_H_
#define WYVERN_DATA_CHAT_JINJA_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/chat/jinja_environment.h"
#include "data/chat/jinja_value.h"

namespace wyvern {

// A text with the ranges of bytes that {% generation %} blocks wrote, in order.
struct JinjaText {
  std::string text;
  std::vector<std::pair<size_t, size_t>> generations;
};

class JinjaTemplate {
 public:
  // Errors name the line of `origin`: a fault of syntax, a statement that is not supported.
  static absl::StatusOr<JinjaTemplate> Parse(
      absl::string_view source, const std::string& origin,
      JinjaEnvironment environment = JinjaEnvironment::kChat);
  JinjaTemplate(JinjaTemplate&&) noexcept;
  JinjaTemplate& operator=(JinjaTemplate&&) noexcept;
  ~JinjaTemplate();

  // Errors name the line of `origin`: what Jinja2 refuses, what is not supported, an exception that
  // the template raises, a template without an end. May be called by several threads at a time.
  absl::StatusOr<JinjaText> Render(
      const std::vector<std::pair<std::string, jinja::Value>>& variables) const;

  bool has_generation() const;  // a {% generation %} block, rendered or not

 private:
  struct Parsed;
  explicit JinjaTemplate(std::unique_ptr<const Parsed> parsed);

  std::unique_ptr<const Parsed> parsed_;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_CHAT_JINJA_H_
