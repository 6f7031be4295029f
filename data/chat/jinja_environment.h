#ifndef WYVERN_DATA_CHAT_JINJA_ENVIRONMENT_H_
#define WYVERN_DATA_CHAT_JINJA_ENVIRONMENT_H_

namespace wyvern {

// How a program sets up Jinja2 for its templates.
enum class JinjaEnvironment {
  // As transformers does for chats: trim_blocks and lstrip_blocks, a newline at the template's end
  // is left out, and an undefined value is an empty text.
  kChat,
  // As lm-eval does for tasks: all white space stays, and an undefined value may only be tested for
  // being defined or replaced by `default`.
  kTask,
};

}  // namespace wyvern

#endif  // WYVERN_DATA_CHAT_JINJA_ENVIRONMENT_H_
