// A chat template from the files in which models bring it.
#ifndef WYVERN_DATA_CHAT_LOAD_CHAT_TEMPLATE_H_
#define WYVERN_DATA_CHAT_LOAD_CHAT_TEMPLATE_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "data/chat/chat_template.h"

namespace wyvern {

// The template and the special tokens at `path`:
// - a file of Jinja2, by any other name than the next;
// - a tokenizer_config.json with the member chat_template (of several by name, "default"), and with
//   the special tokens as bos_token, eos_token and so on;
// - a folder that holds chat_template.jinja, tokenizer_config.json or both.
//
// An empty path: those of the folder of `tokenizer`, which is a path of one as LoadTokenizer takes
// it, or none for records of prompt and completion. Errors: a missing file, a file or folder that
// `path` names without a template.
absl::StatusOr<ChatOptions> LoadChatTemplate(const std::string& path, const std::string& tokenizer);

// The same of the files of a tokenizer, by name (Tokenizer::files). The source stays empty where
// none of them has a template; the special tokens are there.
absl::StatusOr<ChatOptions> ChatTemplateOf(const std::map<std::string, std::string>& files);

}  // namespace wyvern

#endif  // WYVERN_DATA_CHAT_LOAD_CHAT_TEMPLATE_H_
